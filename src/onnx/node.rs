//! What an operator's row sees of a node.

use super::Attributes;
use super::draw::{Draw, Spread};
use super::feeds::Feeds;
use super::memo::Memo;
use crate::error::{Error, Result};
use crate::graph::{Bindings, GraphBuilder, TensorType, ValueId};
use crate::ops::{Operator, RefData, RefTensor};
use crate::passes::fold;
use crate::tensor::{DType, Tensor};

/// A node on its way into a graph. All extents are numbers.
#[derive(Debug)]
pub struct NodeCx<'a> {
    pub(super) builder: &'a mut GraphBuilder,
    pub(super) name: &'a str,
    pub(super) op_type: &'a str,
    pub(super) opset: u32,
    pub(super) producer: &'a str,
    pub(super) attributes: &'a Attributes,
    pub(super) inputs: &'a [Option<ValueId>],
    /// Names of the outputs, empty where nobody wants one.
    pub(super) wanted: &'a [String],
    pub(super) outputs: Vec<Option<ValueId>>,
    /// Outputs that are strings: the numbers of the strings, and the strings.
    pub(super) labels: Vec<(usize, ValueId, Tensor)>,
    /// What the row needs on the host and which is only known after the graph
    /// so far has run.
    pub(super) needed: Option<Needed>,
    /// What runs have answered to [`NodeCx::known_of`], in the order of asking.
    pub(super) answers: &'a [Option<Tensor>],
    pub(super) asked: usize,
    pub(super) memo: &'a mut Memo,
    pub(super) feeds: &'a mut Feeds,
    /// What random values are drawn for: the node, whatever is around it.
    pub(super) drawer: &'a str,
}

/// A value that a row needs on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// An input of the node.
    Input(usize),
    /// A value made on the way, asked for as the question of this number.
    Made(usize, ValueId),
}

impl NodeCx<'_> {
    /// The version of the domain's operator set that the model asks for.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// The program that wrote the file, as the file has it.
    pub fn producer(&self) -> &str {
        self.producer
    }

    /// How many inputs the node lists, absent ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<ValueId> {
        self.optional(index).ok_or_else(|| self.broken(format!("input {index} is missing")))
    }

    /// An input that may be absent.
    pub fn optional(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The type of an input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn ty(&self, index: usize) -> Result<TensorType> {
        Ok(self.builder.ty(self.input(index)?).clone())
    }

    /// The dtype of an input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn dtype(&self, index: usize) -> Result<DType> {
        Ok(self.builder.ty(self.input(index)?).dtype)
    }

    /// The extents of an input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn extents(&self, index: usize) -> Result<Vec<usize>> {
        self.extents_of(self.input(index)?)
    }

    /// The extents of any value.
    ///
    /// # Errors
    /// If one overflows.
    pub fn extents_of(&self, value: ValueId) -> Result<Vec<usize>> {
        self.builder.ty(value).extents(&Bindings::default())
    }

    /// The value of an input on the host. If it is computed by the graph the
    /// import stops here, the graph so far runs, and the row is called again.
    ///
    /// # Errors
    /// If the input is absent or not known yet: return it as it is.
    pub fn known(&mut self, index: usize) -> Result<Tensor> {
        let id = self.input(index)?;
        if let Some(tensor) = self.builder.known(id) {
            return Ok(tensor.clone());
        }
        self.needed = Some(Needed::Input(index));
        Err(Error::internal(format!("input {index} of '{}' is not known yet", self.name)))
    }

    /// As [`NodeCx::known`], for a value that the row has computed from its
    /// inputs, such as a count: only this goes to the host. When the row is
    /// called again it must ask for the same things in the same order.
    ///
    /// # Errors
    /// If it is not known yet: return it as it is.
    pub fn known_of(&mut self, value: ValueId) -> Result<Tensor> {
        let question = self.asked;
        self.asked += 1;
        if let Some(tensor) = self.builder.known(value) {
            return Ok(tensor.clone());
        }
        if let Some(answer) = self.answers.get(question).and_then(Option::as_ref) {
            return Ok(answer.clone());
        }
        self.needed = Some(Needed::Made(question, value));
        Err(Error::internal(format!("a value of '{}' is not known yet", self.name)))
    }

    /// As [`NodeCx::known`], as whole numbers.
    ///
    /// # Errors
    /// As [`NodeCx::known`], and if the elements are not whole numbers.
    pub fn known_ints(&mut self, index: usize) -> Result<Vec<i64>> {
        let tensor = self.known(index)?;
        match RefTensor::from_tensor(&tensor)?.data {
            RefData::Int(values) => Ok(values),
            RefData::Real(_) => {
                let what = format!("input {index} must hold whole numbers, not {}", tensor.dtype());
                Err(self.broken(what))
            }
        }
    }

    /// As [`NodeCx::known`], as real numbers.
    ///
    /// # Errors
    /// As [`NodeCx::known`].
    pub fn known_reals(&mut self, index: usize) -> Result<Vec<f64>> {
        Ok(match RefTensor::from_tensor(&self.known(index)?)?.data {
            RefData::Int(values) => values.into_iter().map(|value| value as f64).collect(),
            RefData::Real(values) => values,
        })
    }

    /// The attributes.
    pub fn attributes(&self) -> &Attributes {
        self.attributes
    }

    /// An INT attribute or its default.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attributes.int(name)?.unwrap_or(default))
    }

    /// A FLOAT attribute or its default.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.attributes.float(name)?.unwrap_or(default))
    }

    /// A STRING attribute or its default.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn string<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str> {
        Ok(self.attributes.string(name)?.unwrap_or(default))
    }

    /// An INTS attribute.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec))
    }

    /// The dtype that an INT attribute names by ONNX's number.
    ///
    /// # Errors
    /// If it is of another type, or this crate does not have that dtype.
    pub fn element_type(&self, name: &str) -> Result<Option<DType>> {
        let Some(code) = self.attributes.int(name)? else { return Ok(None) };
        let dtype = crate::formats::onnx::dtype(code);
        let spelled = || crate::formats::onnx::spelled(code);
        let dtype = dtype.filter(|&dtype| dtype != DType::String);
        dtype.map(Some).ok_or_else(|| self.unsupported(format!("{name} = {code} ({})", spelled())))
    }

    /// How many outputs the node lists.
    pub fn output_count(&self) -> usize {
        self.wanted.len()
    }

    /// Whether the model names this output.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Says what an output is.
    pub fn output(&mut self, index: usize, value: ValueId) {
        if self.outputs.len() <= index {
            self.outputs.resize(index + 1, None);
        }
        self.outputs[index] = Some(value);
    }

    /// Says that an output is strings: those that whole numbers (I64) stand for. The
    /// host puts them there.
    ///
    /// # Errors
    /// As [`Tensor::from_strings`].
    pub fn output_labels(&mut self, index: usize, places: ValueId, labels: &[&str]) -> Result<()> {
        let labels = Tensor::from_strings(&[labels.len()], labels)?;
        self.labels.push((index, places, labels));
        Ok(())
    }

    /// The graph in the making, for the builder's own methods. Unlike
    /// [`NodeCx::op`] it computes nothing while importing.
    pub fn builder(&mut self) -> &mut GraphBuilder {
        self.builder
    }

    /// A value known now.
    ///
    /// # Errors
    /// As [`GraphBuilder::constant`].
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        if tensor.dtype() == DType::String {
            return Err(self.unsupported("strings where numbers are expected"));
        }
        let name = self.name.to_string();
        self.builder.constant(&name, tensor)
    }

    /// Random values of an F32, F64, F16 or BF16 type, other ones each time that this
    /// part of the model runs. `seed` is the node's own, which makes them the same in
    /// all runs. What the row must know is to be asked for before.
    ///
    /// # Errors
    /// As [`GraphBuilder::input`].
    pub fn drawn(
        &mut self,
        spread: Spread,
        dtype: DType,
        extents: &[usize],
        seed: Option<u64>,
    ) -> Result<ValueId> {
        let node = self.drawer.to_string();
        let draw = Draw { spread, dtype, extents: extents.to_vec(), node, seed };
        let name = self.feeds.name(None);
        let shape = extents.iter().map(|&extent| extent.into()).collect::<Vec<_>>();
        let id = self.builder.input(&name, dtype, shape)?;
        self.feeds.draw(id, draw);
        Ok(id)
    }

    /// Applies an operator. Where all inputs are known and small it is computed
    /// at once, so that its results are known too.
    ///
    /// # Errors
    /// As [`GraphBuilder::op`].
    pub fn op(&mut self, op: impl Operator, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        match self.fold(&op, inputs)? {
            Some(results) => results.into_iter().map(|result| self.constant(result)).collect(),
            None => {
                let name = self.name.to_string();
                self.builder.node(&name, std::sync::Arc::new(op), inputs)
            }
        }
    }

    /// Applies an operator that has one output to inputs that are all present.
    ///
    /// # Errors
    /// As [`GraphBuilder::op`].
    pub fn op1(&mut self, op: impl Operator, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        let outputs = self.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal("an operator without output"))
    }

    /// The value in another dtype; itself where it has that already.
    ///
    /// # Errors
    /// If there is no such conversion.
    pub fn cast(&mut self, value: ValueId, to: DType) -> Result<ValueId> {
        if self.builder.ty(value).dtype == to {
            return Ok(value);
        }
        self.op1(crate::ops::elementwise::Cast { to }, &[value])
    }

    /// An input as F32: F16 and BF16 are storage, arithmetic is in F32.
    ///
    /// # Errors
    /// If it is absent or there is no such conversion.
    pub fn input_f32(&mut self, index: usize) -> Result<ValueId> {
        let value = self.input(index)?;
        if self.builder.ty(value).dtype == DType::F64 {
            self.memo.narrowed.insert(self.name.to_string());
        }
        self.cast(value, DType::F32)
    }

    /// Something the row does not do, named with its node.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format!("node '{}' ({})", self.name, self.op_type), what)
    }

    /// A rule the node breaks.
    pub fn broken(&self, what: impl std::fmt::Display) -> Error {
        Error::rule(self.op_type, what).at_node(self.name)
    }

    fn fold(
        &mut self,
        op: &dyn Operator,
        inputs: &[Option<ValueId>],
    ) -> Result<Option<Vec<Tensor>>> {
        let small = |tensor: &&Tensor| self.memo.folds(tensor.extents());
        let mut known = Vec::with_capacity(inputs.len());
        for id in inputs {
            match id.map(|id| self.builder.known(id).filter(small)) {
                None => known.push(None),
                Some(Some(tensor)) => known.push(Some(tensor)),
                Some(None) => return Ok(None),
            }
        }
        let types: Vec<_> = inputs.iter().map(|id| id.map(|id| self.builder.ty(id))).collect();
        let results = op.infer(&types).map_err(|e| e.at_node(self.name))?;
        let mut extents = Vec::with_capacity(results.len());
        for ty in &results {
            let of_one = ty.extents(&Bindings::default())?;
            if ty.dtype.is_quantised() || !self.memo.folds(&of_one) {
                return Ok(None);
            }
            extents.push(of_one);
        }
        let given = known.iter().flatten().map(|tensor| tensor.extents());
        if !fold::is_quick(op, given.chain(extents.iter().map(Vec::as_slice))) {
            return Ok(None);
        }
        let results = self.memo.evaluate(op, &known, &extents);
        results.map(Some).map_err(|e| e.at_node(self.name))
    }
}
