//! Writes the module `package::steps` of `shaders/elementwise/chain.wgsl`. It
//! has nothing of the operators: it imports them, once for each way they are
//! used, and calls them one after another.

use super::{Access, Chain, NAMES, Reading, Step, held};
use crate::error::Result;
use crate::gpu::{Instance, ShaderRequest};
use crate::kernels::elementwise::map::{self, Map};
use crate::kernels::elementwise::storage::storage;
use crate::kernels::elementwise::variants::Wide;
use crate::ops::elementwise::Arg;
use crate::tensor::DType;
use std::fmt::{self, Write as _};

/// The module and what it imports.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) instances: Vec<Instance>,
}

/// The module for a chain of inputs that are read in given ways.
pub(super) fn write(chain: &Chain, inputs: &[DType], reading: &Reading<'_>) -> Result<Written> {
    let mut imports = Imports::default();
    if matches!(reading.wide, Some(Wide::Pairs | Wide::Picked)) {
        imports.text += "import package::common::pairs::{joined, words};\n";
    }
    let mut body = value(&mut imports, chain, inputs)?;
    body += &match reading.wide {
        Some(Wide::Pairs) => eight(reading, inputs.len()),
        Some(Wide::Picked) => picked(reading, inputs.len()),
        Some(Wide::Alone | Wide::Fours) => four(reading, inputs.len()),
        None => element(&mut imports, inputs)?,
    };
    let mut text = imports.text;
    // Writing to a string does not fail.
    let _ = declarations(&mut text, chain, inputs.len(), reading);
    text.push_str(&body);
    if reading.wide.is_some() {
        return Ok(Written { text, instances: imports.instances });
    }
    for input in 0..inputs.len() {
        let _ = place(&mut text, input, reading);
    }
    let _ = whole(&mut text, inputs.len(), reading);
    Ok(Written { text, instances: imports.instances })
}

/// Functions of instances, each imported once under a name of its own.
#[derive(Default)]
struct Imports {
    text: String,
    instances: Vec<Instance>,
}

impl Imports {
    /// The alias of a module with the features of a request; `items` are
    /// imported with it at the end of their names.
    fn alias(&mut self, request: &ShaderRequest, items: &[&str]) -> String {
        let same = |own: &&Instance| {
            own.file == request.file
                && own.features == request.features
                && own.consts == request.consts
        };
        if let Some(found) = self.instances.iter().find(same) {
            return found.alias.to_string();
        }
        let alias = format!("m{}", self.instances.len());
        let path = request.file.replace('/', "::");
        for item in items {
            let _ =
                writeln!(self.text, "import package::{alias}::{path}::{item} as {item}_{alias};");
        }
        self.instances.push(Instance::of(alias.clone(), request));
        alias
    }

    fn decode(&mut self, dtype: DType) -> Result<String> {
        let request = ShaderRequest::new("common/decode").feature(storage("Chain", dtype)?.read);
        Ok(self.alias(&request, &["decode", "word_of"]))
    }

    fn encode(&mut self, step: &Step) -> Result<String> {
        let write = storage("Chain", step.to)?.write;
        let mut request = ShaderRequest::new("common/encode").feature(write);
        if let Map::Cast(rounding) = step.map {
            let features = map::rounded(rounding, step.to);
            request.features.extend(features.into_iter().map(Into::into));
        }
        Ok(self.alias(&request, &["encode"]))
    }

    fn combine(&mut self, step: &Step) -> Result<String> {
        let (from, to) = (held(step.from), held(step.to));
        let mut request = ShaderRequest::new("elementwise/combine")
            .feature(storage("Chain", from)?.read)
            .feature(storage("Chain", to)?.write);
        match step.map {
            // The rounding is that of the stored bits.
            Map::Cast(_) => Map::Cast(Default::default()).configure(&mut request, from, step.to),
            other => other.configure(&mut request, from, to),
        }
        Ok(self.alias(&request, &["combine"]))
    }
}

/// The parameters and bindings.
fn declarations(
    out: &mut String,
    chain: &Chain,
    inputs: usize,
    reading: &Reading<'_>,
) -> fmt::Result {
    writeln!(out, "struct Params {{\n    count: u32,")?;
    if chain.is_checked() {
        writeln!(out, "    status_code: u32,")?;
    }
    if reading.is_placed() {
        writeln!(out, "    start: u32,")?;
    }
    if reading.access.contains(&Access::Strided) {
        for name in map::EXTENTS.iter().take(reading.layout.dims.len()).skip(1) {
            writeln!(out, "    {name}: u32,")?;
        }
    }
    for (i, names) in NAMES.iter().enumerate().take(inputs) {
        if reading.has_window(i) {
            writeln!(out, "    {}: u32,\n    {}: u32,", names.first, names.count)?;
        }
        match reading.access[i] {
            Access::Flat | Access::Scalar => {}
            Access::Row | Access::Column => writeln!(out, "    {}: u32,", names.extent)?,
            Access::Strided => {
                for (name, has) in names.strides.iter().zip(&reading.layout.has[i]) {
                    if *has {
                        writeln!(out, "    {name}: u32,")?;
                    }
                }
            }
        }
    }
    writeln!(out, "}}\n@group(0) @binding(0) var<uniform> params: Params;")?;
    let wide = reading.wide.map_or("u32", Wide::word);
    for (i, names) in NAMES.iter().enumerate().take(inputs) {
        let (at, name) = (i + 1, names.data);
        let word = if reading.is_wide(i) { wide } else { "u32" };
        writeln!(out, "@group(0) @binding({at}) var<storage, read> {name}: array<{word}>;")?;
    }
    let at = NAMES.len() + 1;
    writeln!(out, "@group(0) @binding({at}) var<storage, read_write> y: array<{wide}>;")
}

/// `place_<input>(i)`: where element `i` of the result finds its element.
fn place(out: &mut String, input: usize, reading: &Reading<'_>) -> fmt::Result {
    let names = &NAMES[input];
    writeln!(out, "fn place_{}(i: u32) -> u32 {{", names.data)?;
    let place = match reading.access[input] {
        Access::Flat => "i".into(),
        Access::Scalar => "0u".into(),
        Access::Row => format!("(i + params.start) % params.{}", names.extent),
        Access::Column => format!("(i + params.start) / params.{}", names.extent),
        Access::Strided => {
            writeln!(out, "    var left = i + params.start;\n    var at = 0u;")?;
            let has = &reading.layout.has[input];
            for dim in (1..reading.layout.dims.len()).rev() {
                if has[dim] {
                    let stride = names.strides[dim];
                    writeln!(out, "    at += (left % params.n{dim}) * params.{stride};")?;
                }
                writeln!(out, "    left /= params.n{dim};")?;
            }
            if has[0] { format!("at + left * params.{}", names.strides[0]) } else { "at".into() }
        }
    };
    if reading.has_window(input) {
        writeln!(out, "    return {place} - params.{};\n}}", names.first)
    } else {
        writeln!(out, "    return {place};\n}}")
    }
}

/// `whole(i)`: whether all that element `i` needs is bound.
fn whole(out: &mut String, inputs: usize, reading: &Reading<'_>) -> fmt::Result {
    writeln!(out, "fn whole(i: u32) -> bool {{\n    var all = true;")?;
    for (i, names) in NAMES.iter().enumerate().take(inputs) {
        if reading.has_window(i) {
            let (data, count) = (names.data, names.count);
            writeln!(out, "    all = all && place_{data}(i) < params.{count};")?;
        }
    }
    writeln!(out, "    return all;\n}}")
}

/// `element(i, lane)`: the bits of element `i` of the result.
fn element(imports: &mut Imports, inputs: &[DType]) -> Result<String> {
    let mut out = String::from("fn element(i: u32, lane: u32) -> u32 {\n");
    let mut args = String::new();
    for (names, &dtype) in NAMES.iter().zip(inputs) {
        let (m, x) = (imports.decode(dtype)?, names.data);
        out += &format!("    let at_{x} = place_{x}(i);\n");
        args += &format!("{x}[word_of_{m}(at_{x})], at_{x}, ");
    }
    out += &format!("    return value({args}lane);\n}}\n");
    Ok(out)
}

/// `eight(at)`: the result's words from `8 * at` on.
fn eight(reading: &Reading<'_>, inputs: usize) -> String {
    let read: String = (0..inputs).map(|input| several(reading, input, "words", 8)).collect();
    format!("fn eight(at: u32) {{\n{read}{}}}\n", halves(reading, inputs))
}

/// `eight_of(first, lane, last)`: what `eight(first + lane)` does, if that is not behind
/// `last`; `first` and `last` are the same for all invocations.
fn picked(reading: &Reading<'_>, inputs: usize) -> String {
    let (mut out, mut read, mut rest) = (String::new(), String::new(), String::new());
    for (input, names) in NAMES.iter().enumerate().take(inputs) {
        if reading.access[input] != Access::Flat {
            rest += &several(reading, input, "words", 8);
            continue;
        }
        let x = names.data;
        out += &format!(
            "fn pick_{x}(first: u32, lane: u32, last: u32) -> vec4<u64> {{\n    \
             var all = {x}[first];\n"
        );
        for lane in 1..8 {
            let other = format!("{x}[min(first + {lane}u, last)]");
            out += &format!("    all = select(all, {other}, lane == {lane}u);\n");
        }
        out += "    return all;\n}\n";
        read += &format!("    let w_{x} = words(pick_{x}(first, lane, last));\n");
    }
    let begin = "fn eight_of(first: u32, lane: u32, last: u32) {\n    let at = first + lane;\n";
    let halves = halves(reading, inputs);
    format!("{out}{begin}{read}    if at > last {{\n        return;\n    }}\n{rest}{halves}}}\n")
}

/// Computes and writes eight words of the result.
fn halves(reading: &Reading<'_>, inputs: usize) -> String {
    let half = |half| {
        let all = values(reading, inputs, &format!(".{half}"));
        format!("    let {half} = {all};\n")
    };
    format!("{}{}    y[at] = joined(even, odd);\n", half("even"), half("odd"))
}

/// `four(at)`: the result's words from `4 * at` on.
fn four(reading: &Reading<'_>, inputs: usize) -> String {
    let read: String = (0..inputs).map(|input| several(reading, input, "", 4)).collect();
    let all = values(reading, inputs, "");
    format!("fn four(at: u32) {{\n{read}    y[at] = {all};\n}}\n")
}

/// `w_<input>`: what an input has for `count` words of the result, or the one word that
/// it has for all of them.
fn several(reading: &Reading<'_>, input: usize, decode: &str, count: u64) -> String {
    let (x, n) = (NAMES[input].data, NAMES[input].extent);
    let value = match reading.access[input] {
        Access::Row => {
            format!("{decode}({x}[(at + params.start / {count}u) % (params.{n} / {count}u)])")
        }
        Access::Column => format!("{x}[({count}u * at + params.start) / params.{n}]"),
        Access::Scalar => format!("{x}[0]"),
        _ => format!("{decode}({x}[at])"),
    };
    format!("    let w_{x} = {value};\n")
}

/// A vector of four of the result's elements; `part` is what of several words has them.
fn values(reading: &Reading<'_>, inputs: usize, part: &str) -> String {
    let one = |place: &str| {
        let arg = |input: usize| {
            let own = if reading.is_wide(input) { format!("{part}.{place}") } else { "".into() };
            format!("w_{}{own}, 0u, ", NAMES[input].data)
        };
        let args: String = (0..inputs).map(arg).collect();
        format!("value({args}0u)")
    };
    let all = ["x", "y", "z", "w"].map(one).join(",\n        ");
    format!("vec4(\n        {all},\n    )")
}

/// `value(words and places of the operands' elements, lane)`: the bits of the
/// result's element.
fn value(imports: &mut Imports, chain: &Chain, inputs: &[DType]) -> Result<String> {
    let names = NAMES.iter().take(inputs.len()).map(|names| names.data);
    let params: String = names.map(|x| format!("word_{x}: u32, at_{x}: u32, ")).collect();
    let mut out = format!("fn value({params}lane: u32) -> u32 {{\n");
    for (names, &dtype) in NAMES.iter().zip(inputs) {
        let (m, x) = (imports.decode(dtype)?, names.data);
        out += &format!("    let value_{x} = decode_{m}(word_{x}, at_{x});\n");
    }
    for (i, step) in chain.steps.iter().enumerate() {
        let m = imports.combine(step)?;
        let args: Vec<String> = step.args.iter().map(operand).collect();
        let value = format!("combine_{m}({})", args.join(", "));
        if i + 1 == chain.steps.len() {
            let m = imports.encode(step)?;
            out += &format!("    return encode_{m}({value}, lane);\n}}\n");
        } else if is_narrowed(step) {
            let (e, d) = (imports.encode(step)?, imports.decode(step.to)?);
            out += &format!("    let step_{i} = decode_{d}(encode_{e}({value}, 0u), 0u);\n");
        } else {
            out += &format!("    let step_{i} = {value};\n");
        }
    }
    Ok(out)
}

/// Whether a value differs from what is left of it when it is stored: whole
/// numbers wrap around, conversions round.
fn is_narrowed(step: &Step) -> bool {
    let narrow = step.to.is_integer() && step.to != DType::Bool && step.to.bits() < 32;
    narrow || (step.rounds() && storage_loses(step.to))
}

fn storage_loses(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16) || dtype.is_small_float()
}

fn operand(arg: &Arg) -> String {
    match *arg {
        Arg::Input(i) => format!("value_{}", NAMES.get(i).map_or("", |names| names.data)),
        Arg::Step(i) => format!("step_{i}"),
        Arg::Number(value, dtype) if dtype.is_signed_integer() => format!("i32({})", value as i64),
        Arg::Number(value, dtype) if dtype.is_integer() => format!("{}u", value as u64),
        Arg::Number(value, _) => format!("f32({:?})", value as f32),
    }
}
