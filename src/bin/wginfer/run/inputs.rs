//! What a model is given: files, pictures, random values.

use super::args::{InputArgs, InputSource};
use super::{arrays, picture};
use crate::output::{note, safe};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wginfer::formats::onnx::{Dimension, Form, ValueInfo};
use wginfer::onnx::Model;
use wginfer::{DType, Error, Tensor};

/// The inputs of a run, by name, in the model's order. Unless it is to be quiet, a
/// note tells which are random.
pub(crate) fn gather(
    args: &InputArgs,
    model: &Model,
    quiet: bool,
) -> Result<Vec<(String, Tensor)>, Error> {
    check_names(args, model)?;
    let mut given = BTreeMap::new();
    let mut strangers = Vec::new();
    for source in &args.inputs {
        strangers.extend(read(args, model, source, &mut given)?);
    }
    texts(args, model, &mut given)?;
    let missing = model
        .inputs()
        .iter()
        .filter(|info| model.default_of(&info.name).is_none())
        .any(|info| !given.keys().any(|name| declared(model, name) == Some(info)));
    match strangers.first() {
        Some(name) if missing => return Err(unknown(model, name)),
        Some(_) => {
            note(format_args!("note: not inputs of the model: {}", safe(&strangers.join(", "))))
        }
        None => {}
    }
    let dims = known_dims(args, model, &given);
    let mut inputs = Vec::new();
    for info in model.inputs() {
        if let Some(tensor) = given.remove(&info.name) {
            inputs.push((info.name.clone(), tensor));
        } else if info.form != Form::Tensor {
            // The elements of a sequence are called `name[0]` and so on.
            let own = |name: &&String| name.strip_prefix(&info.name).is_some_and(is_place);
            let names: Vec<String> = given.keys().filter(own).cloned().collect();
            if names.is_empty() && info.form == Form::Sequence {
                let name = &info.name;
                return Err(Error::Input {
                    name: format!("input '{name}'"),
                    expected: format!("{info}: its elements as {name}[0]=FILE, {name}[1]=FILE"),
                    got: "nothing".into(),
                });
            }
            inputs.extend(names.into_iter().filter_map(|name| given.remove_entry(&name)));
        } else if model.default_of(&info.name).is_none() {
            let tensor = random(args, info, &dims)?;
            if !quiet {
                let (name, ty) = (safe(&info.name), tensor.dtype());
                note(format_args!("Input: random values for {name}, {ty}{:?}", tensor.extents()));
            }
            inputs.push((info.name.clone(), tensor));
        }
    }
    match given.into_keys().next() {
        Some(name) => Err(unknown(model, &name)),
        None => Ok(inputs),
    }
}

/// Shapes and dimensions are those of the model.
fn check_names(args: &InputArgs, model: &Model) -> Result<(), Error> {
    for shape in &args.shapes {
        if declared(model, &shape.name).is_none() {
            return Err(unknown(model, &shape.name));
        }
    }
    let dims = model.inputs().iter().flat_map(|info| info.dims.iter().flatten());
    let symbols: BTreeSet<&str> = dims
        .filter_map(|dim| match dim {
            Dimension::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        })
        .collect();
    match args.dims.iter().find(|dim| !symbols.contains(dim.name.as_str())) {
        None => Ok(()),
        Some(dim) => Err(Error::Input {
            name: "dimension".into(),
            expected: match symbols.is_empty() {
                true => "none, as the model names no dimensions".into(),
                false => format!("one of {symbols:?}"),
            },
            got: dim.name.clone(),
        }),
    }
}

fn unknown(model: &Model, name: &str) -> Error {
    let names: Vec<_> = model.inputs().iter().map(|info| info.name.as_str()).collect();
    Error::Input { name: "input".into(), expected: format!("one of {names:?}"), got: name.into() }
}

/// Reads a file's inputs; the names of arrays that are none.
fn read(
    args: &InputArgs,
    model: &Model,
    source: &InputSource,
    given: &mut BTreeMap<String, Tensor>,
) -> Result<Vec<String>, Error> {
    let file = &source.file;
    let archive = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    if archive && source.name.is_none() {
        let mut strangers = Vec::new();
        for name in arrays::names(file)? {
            if declared(model, &name).is_some() {
                given.insert(name.clone(), arrays::read_from(file, &name)?);
            } else {
                strangers.push(name);
            }
        }
        return Ok(strangers);
    }
    let info = match &source.name {
        Some(name) => declared(model, name),
        None => only(model)?,
    };
    let name = source.name.as_deref().unwrap_or_default();
    let info = info.ok_or_else(|| unknown(model, name))?;
    let name = source.name.as_deref().unwrap_or(&info.name);
    let tensor = if archive {
        arrays::read_from(file, source.key.as_deref().unwrap_or(name))?
    } else if picture::is_picture(file) {
        picture::read(file, &args.picture.options(), &wanted(info))?
    } else {
        arrays::read(file)?
    };
    given.insert(name.to_string(), tensor);
    Ok(Vec::new())
}

/// Strings given one by one: along the one dimension that may have several.
fn texts(
    args: &InputArgs,
    model: &Model,
    given: &mut BTreeMap<String, Tensor>,
) -> Result<(), Error> {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for text in &args.texts {
        words.entry(&text.name).or_default().push(&text.text);
    }
    for (name, words) in words {
        let info = declared(model, name).ok_or_else(|| unknown(model, name))?;
        let n = words.len();
        let extents = match info.dims.as_deref() {
            Some([]) if n == 1 => vec![],
            Some([Dimension::Number(1), _]) => vec![1, n],
            Some([_, _]) => vec![n, 1],
            _ => vec![n],
        };
        given.insert(name.into(), Tensor::from_strings(&extents, &words)?);
    }
    Ok(())
}

/// Whether the text is like `[3]`.
fn is_place(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<usize>().is_ok())
}

/// The declared input that a name stands for, which may be that of an element.
fn declared<'m>(model: &'m Model, name: &str) -> Option<&'m ValueInfo> {
    let element = |info: &ValueInfo| {
        info.form != Form::Tensor && name.strip_prefix(&info.name).is_some_and(is_place)
    };
    let exact = model.inputs().iter().find(|info| info.name == name);
    exact.or_else(|| model.inputs().iter().find(|info| element(info)))
}

/// The one input that a file without a name can be meant for.
fn only(model: &Model) -> Result<Option<&ValueInfo>, Error> {
    let mut without_default =
        model.inputs().iter().filter(|info| model.default_of(&info.name).is_none());
    match (without_default.next(), without_default.next()) {
        (Some(info), None) => Ok(Some(info)),
        _ => {
            let names: Vec<_> = model.inputs().iter().map(|info| info.name.as_str()).collect();
            Err(Error::Input {
                name: "input".into(),
                expected: format!("NAME=FILE, where NAME is one of {names:?}"),
                got: "a file without a name".into(),
            })
        }
    }
}

fn wanted(info: &ValueInfo) -> picture::Wanted {
    let number = |dim: &Dimension| match dim {
        Dimension::Number(number) => Some(*number),
        _ => None,
    };
    picture::Wanted {
        dtype: info.dtype.unwrap_or(DType::F32),
        dims: info.dims.iter().flatten().map(number).collect(),
    }
}

/// The named dimensions that options or given inputs fix.
fn known_dims(
    args: &InputArgs,
    model: &Model,
    given: &BTreeMap<String, Tensor>,
) -> BTreeMap<String, usize> {
    let mut dims: BTreeMap<String, usize> =
        args.dims.iter().map(|dim| (dim.name.clone(), dim.value)).collect();
    for info in model.inputs() {
        let shape = args.shapes.iter().find(|shape| shape.name == info.name);
        let shape = shape.map(|shape| shape.extents.as_slice());
        let Some(extents) = given.get(&info.name).map(Tensor::extents).or(shape) else { continue };
        for (dim, &extent) in info.dims.iter().flatten().zip(extents) {
            if let Dimension::Symbol(name) = dim {
                dims.entry(name.clone()).or_insert(extent);
            }
        }
    }
    dims
}

/// Random values of an input's type: reals from a normal distribution, truth
/// values, and whole numbers of 0 and 1, which are safe as indices.
fn random(
    args: &InputArgs,
    info: &ValueInfo,
    dims: &BTreeMap<String, usize>,
) -> Result<Tensor, Error> {
    let name = &info.name;
    let unfit = |got: &str| Error::Input {
        name: format!("input '{name}'"),
        expected: "a file, as no random values can be made for it".into(),
        got: got.into(),
    };
    let dtype = info.dtype.ok_or_else(|| unfit(&info.to_string()))?;
    if dtype == DType::String {
        return Err(unfit(&format!("{info}; or give strings with --text {name}=TEXT")));
    }
    let extents = match args.shapes.iter().find(|shape| shape.name == *name) {
        Some(shape) => shape.extents.clone(),
        None => {
            let Some(declared) = &info.dims else {
                return Err(unfit(&format!("{info}; or say its extents with --shape {name}=...")));
            };
            declared
                .iter()
                .map(|dim| match dim {
                    Dimension::Number(number) => *number,
                    Dimension::Symbol(symbol) => dims.get(symbol).copied().unwrap_or(1),
                    Dimension::Unknown => 1,
                })
                .collect()
        }
    };
    let count = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    // No picture, sentence or sound is as large as this.
    const MOST: usize = 1 << 30;
    let Some(count) = count.filter(|&count| count <= MOST) else {
        return Err(unfit(&format!("{dtype}{extents:?}")));
    };
    let mut rng = Pcg64Mcg::seed_from_u64(args.seed.unwrap_or(0) ^ hash(name));
    let bytes: Vec<u8> = match dtype {
        DType::F32 => (0..count).flat_map(|_| normal(&mut rng).to_le_bytes()).collect(),
        DType::F16 => {
            (0..count).flat_map(|_| half::f16::from_f32(normal(&mut rng)).to_le_bytes()).collect()
        }
        DType::BF16 => {
            (0..count).flat_map(|_| half::bf16::from_f32(normal(&mut rng)).to_le_bytes()).collect()
        }
        whole if whole.is_integer() => {
            let mut one = vec![0; whole.block_bytes()];
            let mut element = || {
                one[0] = (rng.next_u32() & 1) as u8;
                one.clone()
            };
            (0..count).flat_map(|_| element()).collect()
        }
        other => return Err(unfit(other.name())),
    };
    Tensor::new(dtype, &extents, bytes)
}

/// Box and Muller's transform.
fn normal(rng: &mut impl RngCore) -> f32 {
    let unit = |word: u64| ((word >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    let (u, v) = (unit(rng.next_u64()), unit(rng.next_u64()));
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// FNV-1a, so that inputs differ from each other and not from run to run.
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Whether a file may be the model that was meant: for messages.
pub(crate) fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}
