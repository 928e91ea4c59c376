//! The elementwise kernel.

use super::access::{Access, Layout};
use super::chain::Chain;
use super::split::{self, Chunk};
use super::storage::storage;
use super::variants::{FAMILY, Wide, choose, instance, not_unrolled, suit_wide, words};
use super::windows::{Window, windows};
use super::{cast, cpu};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::{Dim, TensorType};
use crate::kernels::{CpuCx, Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::elementwise::{Binary, Test, Unary, Whole};
use crate::tensor::{DType, PowerRounding, SmallRounding};

/// What is computed for each element. Inputs are broadcast to the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Map {
    /// A function of one real input.
    Unary(Unary),
    /// An operation on two inputs of one dtype.
    Binary(Binary),
    /// A function of the first input times the second.
    Gated(Unary),
    /// A function of one whole number or truth value.
    Whole(Whole),
    /// A question about one real input.
    Test(Test),
    /// The input in the output's dtype; how to round where that is a
    /// floating-point type of at most 8 bits.
    Cast(SmallRounding),
    /// The input's bits in the output's dtype, which has as many.
    Bits,
    /// The second or third input, as the first (Bool) says.
    Where,
}

impl Map {
    /// Whether the operation is a few instructions, or one of the functions that
    /// were seen to be compiled quickly when they are repeated.
    pub(super) fn is_light(&self, from: DType, to: DType) -> bool {
        let function = matches!(self, Map::Unary(_) | Map::Gated(_));
        self.is_plain(from, to) || (function && from == DType::F32 && to == DType::F32)
    }

    /// Whether the operation is one or two instructions of a processor.
    pub(super) fn is_plain(&self, from: DType, to: DType) -> bool {
        let plain = from == DType::F32 && to == DType::F32;
        let few = match self {
            Map::Unary(op) => matches!(op, Unary::Neg | Unary::Abs | Unary::Relu),
            Map::Binary(op) => matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div),
            _ => false,
        };
        plain && few
    }

    /// The shader's names of the inputs, in order.
    fn operands(&self) -> &'static [&'static str] {
        match self {
            Map::Unary(_) | Map::Whole(_) | Map::Test(_) | Map::Cast(_) | Map::Bits => &["a"],
            Map::Binary(_) | Map::Gated(_) => &["a", "b"],
            Map::Where => &["c", "a", "b"],
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Map::Unary(_) => "elementwise.unary",
            Map::Binary(_) => "elementwise.binary",
            Map::Gated(_) => "elementwise.gated",
            Map::Whole(_) => "elementwise.whole",
            Map::Test(_) => "elementwise.test",
            Map::Cast(_) => "elementwise.cast",
            Map::Bits => "elementwise.bits",
            Map::Where => "elementwise.where",
        }
    }

    /// The shader for given dtypes and ways of reading.
    fn request(
        &self,
        variant: &Variant,
        from: DType,
        to: DType,
        access: &[Access],
        dims: usize,
        windows: &[Window],
    ) -> Result<ShaderRequest> {
        let mut request = instance(variant.shader, variant);
        let simple = |how: &Access| matches!(how, Access::Flat | Access::Scalar);
        if !self.is_light(from, to) || !access.iter().all(simple) {
            not_unrolled(&mut request);
        }
        let (read, write) = (storage(self.label(), from)?, storage(self.label(), to)?);
        request = request.feature(read.read).feature(write.write);
        match self.operands().len() {
            2 => request = request.feature("two"),
            3 => request = request.feature("three"),
            _ => {}
        }
        let mut placed = false;
        for (name, access) in self.operands().iter().zip(access) {
            let how = match access {
                Access::Flat => continue,
                Access::Scalar => "scalar",
                Access::Row => "row",
                Access::Column => "column",
                Access::Strided => "strided",
            };
            placed |= *access != Access::Scalar;
            request = request.feature(format!("{name}_{how}"));
        }
        if placed {
            request = request.feature("placed");
        }
        if access.contains(&Access::Strided) {
            request.features.extend((1..dims).map(|i| format!("dim{i}").into()));
        }
        for (name, _) in self.operands().iter().zip(windows).filter(|(_, w)| w.is_some()) {
            request = request.feature(format!("{name}_window"));
        }
        if windows.iter().any(Option::is_some) {
            request = request.feature("windowed");
        }
        self.configure(&mut request, from, to);
        Ok(request)
    }

    /// Adds to a request what selects the operation in `elementwise/combine.wgsl`
    /// for given dtypes, and how its result is rounded.
    pub(super) fn configure(&self, request: &mut ShaderRequest, from: DType, to: DType) {
        let mut select = |feature: &'static str| request.features.push(feature.into());
        match self {
            Map::Unary(_) => select("op_unary"),
            Map::Gated(_) => select("op_gated"),
            Map::Binary(operation) => select(operation.feature()),
            Map::Where => select("op_where"),
            Map::Whole(function) => select(function.feature()),
            Map::Test(test) => test.features().into_iter().for_each(select),
            Map::Cast(rounding) => {
                select(conversion(from, to));
                rounded(*rounding, to).into_iter().for_each(select);
            }
            Map::Bits => select(conversion(from, to)),
        }
        if let Map::Unary(function) | Map::Gated(function) = self {
            function.configure(request);
        }
        if from.is_integer() && matches!(self, Map::Binary(_) | Map::Whole(_)) {
            request.features.push("whole".into());
            request.consts.push(("BITS".into(), ConstValue::U32(from.bits())));
            if from.is_signed_integer() {
                request.features.push("signed".into());
            }
        }
        if self.is_checked(from, to) {
            request.features.push("checked".into());
        }
    }

    /// Whether 64-bit results may leave the 32 bits that a device has of them.
    pub(super) fn is_checked(&self, from: DType, to: DType) -> bool {
        match self {
            Map::Binary(op) => to.is_64bit_integer() && op.may_overflow(),
            Map::Whole(function) => function.may_overflow(from),
            Map::Cast(_) if !from.is_integer() => to.is_64bit_integer(),
            Map::Cast(_) | Map::Bits => conversion(from, to) == "op_cast_sign",
            Map::Unary(_) | Map::Gated(_) | Map::Test(_) | Map::Where => false,
        }
    }

    fn bindings(
        &self,
        cx: &GpuCx<'_>,
        chunk: &Chunk,
        access: &[Access],
        windows: &[Window],
    ) -> Result<Vec<Bound>> {
        let mut bindings = Vec::new();
        for (i, &name) in self.operands().iter().enumerate() {
            let (place, unit) = (Place::Input(i), cx.input(i)?.dtype.device_block_bytes() as u64);
            let view = match (&windows[i], access[i]) {
                (Some(window), _) => window.view(place, unit),
                (None, Access::Flat) => chunk.view(place, unit),
                (None, _) => View::all(place),
            };
            bindings.push((name, view));
        }
        let output = cx.output(0)?.dtype;
        let bytes = output.device_block_bytes() as u64;
        bindings.push(("y", chunk.view(Place::Output(0), bytes)));
        if self.is_checked(cx.input(self.operands().len() - 1)?.dtype, output) {
            bindings.push(("status", View::all(Place::Status)));
        }
        Ok(bindings)
    }
}

/// Whether all of a result fits a binding.
pub(super) fn is_whole(cx: &GpuCx<'_>, output: &TensorType) -> Result<bool> {
    let bytes = output.dtype.device_block_bytes() as u64;
    Ok(cx.bound(&output.elements())?.saturating_mul(bytes) <= cx.caps.max_binding())
}

const WINDOWS: [(&str, &str); 3] =
    [("a_first", "a_count"), ("b_first", "b_count"), ("c_first", "c_count")];

type Bound = (&'static str, View);

/// The features that select what happens out of a small type's range.
pub(super) fn rounded(rounding: SmallRounding, to: DType) -> Vec<&'static str> {
    let mut features = Vec::new();
    if to.is_small_float() && !rounding.saturate {
        features.push("unsaturated");
    }
    match rounding.power {
        _ if to != DType::F8E8M0 => {}
        PowerRounding::Up => {}
        PowerRounding::Down => features.push("power_down"),
        PowerRounding::Nearest => features.push("power_nearest"),
    }
    features
}

/// The feature that selects a conversion.
fn conversion(from: DType, to: DType) -> &'static str {
    let real = !from.is_integer();
    match to {
        _ if from == to => "op_cast",
        DType::Bool => "op_cast_truth",
        DType::I32 | DType::I64 if real => "op_cast_i32",
        DType::U32 | DType::U64 if real => "op_cast_u32",
        DType::I16 if real => "op_cast_i16",
        DType::U16 if real => "op_cast_u16",
        DType::I4 | DType::I2 if real => "op_cast_low_signed",
        DType::U4 | DType::U2 if real => "op_cast_low_unsigned",
        DType::I64 if matches!(from, DType::U32 | DType::U64) => "op_cast_sign",
        DType::U64 if from.is_signed_integer() => "op_cast_sign",
        DType::I8 if real => "op_cast_i8",
        DType::U8 if real => "op_cast_u8",
        _ => "op_cast",
    }
}

const STRIDES: [[&str; 8]; 3] = [
    ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"],
    ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"],
    ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"],
];
pub(super) const EXTENTS: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];

fn params(
    map: &Map,
    layout: &Layout,
    access: &[Access],
    chunk: &Chunk,
    windows: &[Window],
) -> Result<Vec<(&'static str, Param)>> {
    let mut params = vec![("count", Param::from(&chunk.count))];
    if access.iter().any(|a| !matches!(a, Access::Flat | Access::Scalar)) {
        params.push(("start", split::index32(map.label(), chunk.start)?.into()));
    }
    if access.contains(&Access::Strided) {
        let extents = EXTENTS.iter().zip(&layout.dims).skip(1);
        params.extend(extents.map(|(name, dim)| (*name, dim.into())));
    }
    for (i, access) in access.iter().enumerate() {
        let letter = match map.operands()[i] {
            "a" => 0,
            "b" => 1,
            _ => 2,
        };
        if let Some(window) = &windows[i] {
            let (first, count) = WINDOWS[letter];
            params.push((first, split::index32(map.label(), window.start)?.into()));
            params.push((count, split::index32(map.label(), window.most)?.into()));
        }
        match access {
            Access::Flat | Access::Scalar => {}
            Access::Row | Access::Column => {
                params.push((["a_n", "b_n", "c_n"][letter], (&layout.dims[1]).into()));
            }
            Access::Strided => {
                let strides = layout.strides(i);
                let named = STRIDES[letter].iter().zip(strides);
                params.extend(named.map(|(name, stride)| (*name, stride.into())));
            }
        }
    }
    Ok(params)
}

impl Kernel for Map {
    fn name(&self) -> &str {
        self.label()
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let output = cx.output(0)?;
        let inputs: Vec<&TensorType> =
            (0..self.operands().len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
        let shapes: Vec<&[Dim]> = inputs.iter().map(|ty| ty.shape.as_slice()).collect();
        let layout = Layout::new(&output.shape, &shapes);
        let access: Vec<Access> = (0..inputs.len()).map(|i| layout.access(i)).collect();
        let from = inputs.last().map_or(output.dtype, |ty| ty.dtype);
        // The bits of a real number of less than a byte are not at hand there.
        if matches!(self, Map::Bits) && !(from.is_integer() && output.dtype.is_integer()) {
            let what = format!("{from} as {} on a GPU; the CPU backend computes it", output.dtype);
            return Err(Error::unsupported(self.label(), what));
        }
        let windows = windows(cx, self.label(), &access)?;
        let dtypes = inputs.iter().map(|ty| &ty.dtype).chain([&output.dtype]);
        let whole = windows.len() == 1 && is_whole(cx, output)?;
        let suited = whole && suit_wide(&layout, &access, dtypes);
        let plain = self.is_plain(from, output.dtype);
        let variant = choose(cx, suited, plain, cx.bound(&output.elements())?)?;
        if Wide::of(variant).is_some() {
            return Chain::single(*self, from, output.dtype, inputs.len()).gpu(cx);
        }
        let dims = layout.dims.len();
        let shader = self.request(variant, from, output.dtype, &access, dims, &windows[0])?;
        let mut sizes: Vec<u64> =
            inputs.iter().map(|ty| ty.dtype.device_block_bytes() as u64).collect();
        sizes.push(output.dtype.device_block_bytes() as u64);
        let total = output.elements();
        split::index32(self.label(), cx.bound(&total)?)?;
        let per_group = words(variant) * storage(self.label(), output.dtype)?.lanes;
        let mut dispatches = Vec::new();
        for chunk in split::elements(cx, &total, &sizes)? {
            for windows in &windows {
                let mut params = params(self, &layout, &access, &chunk, windows)?;
                if self.is_checked(from, output.dtype) {
                    params.push(("status_code", Param::Status(Fault::Overflow)));
                }
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: self.bindings(cx, &chunk, &access, windows)?,
                    params,
                    grid: Grid::Linear(chunk.count.ceil_div(per_group)),
                    work: chunk.count.clone() * 8u64,
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let inputs: Vec<_> =
            (0..self.operands().len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
        let output = cx.output(0)?;
        match (self, inputs.as_slice()) {
            (Map::Unary(f), [x]) => cpu::unary(*f, x, output),
            (Map::Gated(f), [a, b]) => cpu::gated(*f, a, b, output),
            (Map::Binary(op), [a, b]) => cpu::binary(*op, a, b, output),
            (Map::Whole(f), [x]) => cpu::whole_unary(*f, x, output),
            (Map::Test(test), [x]) => cpu::test(*test, x, output),
            (Map::Cast(rounding), [x]) => cast::cast(*rounding, x, output),
            (Map::Bits, [x]) => cast::bits(x, output),
            (Map::Where, [c, a, b]) => cpu::select(c, a, b, output),
            _ => Err(Error::internal("a wrong number of elementwise operands")),
        }
    }
}

/// Every instantiation worth compiling: each operation with each dtype, and
/// each way of reading with one operation.
pub(crate) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    use Access::*;
    if Wide::of(variant).is_some() {
        return super::chain::requests(variant);
    }
    let mut all = Vec::new();
    let mut add = |map: Map, from, to, access: &[Access], dims| {
        all.extend(map.request(variant, from, to, access, dims, &[]));
    };
    let reals = [DType::F32, DType::F16, DType::BF16];
    let device = DType::ALL.into_iter().filter(|&dtype| storage("", dtype).is_ok());
    let device: Vec<DType> = device.collect();
    for function in Unary::ALL {
        add(Map::Unary(function), DType::F32, DType::F32, &[Flat], 1);
        add(Map::Gated(function), DType::F16, DType::F16, &[Flat, Flat], 1);
    }
    for dtype in reals {
        add(Map::Unary(Unary::Silu), dtype, dtype, &[Flat], 1);
    }
    for function in Whole::ALL {
        for &dtype in device.iter().filter(|&&dtype| function.takes(dtype)) {
            add(Map::Whole(function), dtype, dtype, &[Flat], 1);
        }
    }
    for from in reals {
        add(Map::Test(Test::IsNaN), from, DType::Bool, &[Flat], 1);
        for (negative, positive) in [(true, true), (true, false), (false, true), (false, false)] {
            let test = Test::IsInf { negative, positive };
            add(Map::Test(test), from, DType::Bool, &[Flat], 1);
        }
    }
    for &to in device.iter().filter(|dtype| dtype.is_small_float()) {
        for saturate in [true, false] {
            for power in [PowerRounding::Up, PowerRounding::Down, PowerRounding::Nearest] {
                let rounding = SmallRounding { saturate, power };
                add(Map::Cast(rounding), DType::F32, to, &[Flat], 1);
            }
        }
    }
    add(Map::Bits, DType::I64, DType::U64, &[Flat], 1);
    add(Map::Bits, DType::U64, DType::I64, &[Flat], 1);
    for &dtype in &device {
        for operation in Binary::ALL.into_iter().filter(|op| op.takes(dtype)) {
            let to = if operation.is_comparison() { DType::Bool } else { dtype };
            add(Map::Binary(operation), dtype, to, &[Flat, Flat], 1);
        }
        for &to in &device {
            add(Map::Cast(SmallRounding::default()), dtype, to, &[Flat], 1);
        }
        add(Map::Where, dtype, dtype, &[Flat, Flat, Flat], 1);
    }
    for (a, b, dims) in [(Row, Flat, 2), (Column, Row, 2), (Scalar, Flat, 1), (Flat, Scalar, 1)] {
        add(Map::Binary(Binary::Add), DType::F16, DType::F16, &[a, b], dims);
    }
    for dims in 3..=8 {
        add(Map::Binary(Binary::Mul), DType::F32, DType::F32, &[Strided, Strided], dims);
        add(Map::Where, DType::F32, DType::F32, &[Strided, Scalar, Strided], dims);
    }
    add(Map::Where, DType::F32, DType::F32, &[Column, Row, Scalar], 2);
    all.extend(super::chain::requests(variant));
    all
}
