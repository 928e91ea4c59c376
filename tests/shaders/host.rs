//! The host side of every operator's dispatches, planned for devices that are
//! not here: names, types, places, offsets, sizes and counts.

#![allow(clippy::unwrap_used, reason = "a test program: what is wrong should stop it")]

use crate::{compiled, mistranslated, quick, seed, variants};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use wginfer::gpu::{
    BindingKind, CoopScalar, CoopShape, DeviceCaps, Reflection, Scalar, ShaderRequest, check_fits,
};
use wginfer::graph::Bindings;
use wginfer::kernels::registry::FAMILIES;
use wginfer::kernels::{Dispatch, Grid, Param, Place, Policy, View};
use wginfer::ops::attention::Attention;
use wginfer::ops::conv::Conv;
use wginfer::ops::gather::Gather;
use wginfer::ops::norm::Normalization;
use wginfer::ops::pool::{MaxPool, Window};
use wginfer::ops::registry::OPERATORS;
use wginfer::ops::rotary::RotaryEmbedding;
use wginfer::ops::softmax::Softmax;
use wginfer::ops::state::TensorScatter;
use wginfer::plan::{Call, Home, Plan};
use wginfer::quant::DeviceLayout;
use wginfer::validate::{
    Case, CaseFamily, CaseInput, Extents, Setup, Values, Yardstick, dispatches,
};
use wginfer::{DType, Error, ErrorKind, Tensor};

/// Nothing optional, WebGPU's default limits, bindings of 1 MiB.
fn least() -> DeviceCaps {
    DeviceCaps { binding_cap: Some(1 << 20), ..DeviceCaps::webgpu_minimum() }
}

/// A large GPU.
fn most() -> DeviceCaps {
    let mut caps = DeviceCaps::webgpu_minimum();
    caps.name = "everything".into();
    (caps.f16, caps.subgroups, caps.immediates) = (true, true, true);
    caps.int64 = true;
    (caps.min_subgroup_size, caps.max_subgroup_size) = (32, 32);
    for size in [8, 16] {
        let (ab, cr) = (CoopScalar::F16, CoopScalar::F32);
        caps.coop.push(CoopShape { m: size, n: size, k: size, ab, cr, saturating: false });
    }
    let limits = &mut caps.limits;
    limits.max_compute_invocations_per_workgroup = 1024;
    limits.max_compute_workgroup_size_x = 1024;
    limits.max_compute_workgroup_size_y = 1024;
    limits.max_compute_workgroup_storage_size = 64 << 10;
    limits.max_storage_buffer_binding_size = 1 << 31;
    limits.max_buffer_size = 1 << 34;
    limits.min_storage_buffer_offset_alignment = 32;
    caps
}

/// What the device chooses, and every variant forced in turn.
fn policies() -> Vec<(String, Policy)> {
    let mut policies = vec![
        ("default".to_string(), Policy::default()),
        ("f16".to_string(), Policy { allow_f16: true, ..Policy::default() }),
    ];
    for family in FAMILIES {
        for variant in family.variants {
            let force = BTreeMap::from([(family.name.into(), variant.name.into())]);
            let name = format!("{}/{}", family.name, variant.name);
            policies.push((name, Policy { force, allow_f16: true, ..Policy::default() }));
        }
    }
    policies
}

/// The lists of the families need not hold each instantiation that some dispatch asks
/// for (each operation with each dtype and each way of reading, say); what is met
/// beyond them is translated here.
#[derive(Default)]
struct Shaders {
    listed: HashSet<ShaderRequest>,
    met: Mutex<HashSet<(String, ShaderRequest)>>,
}

impl Shaders {
    fn new() -> Self {
        let requests = variants().flat_map(|(family, variant)| (family.requests)(variant));
        Shaders { listed: requests.collect(), ..Shaders::default() }
    }

    fn reflection(&self, request: &ShaderRequest) -> Result<Reflection, String> {
        match compiled(request).get() {
            Some(Ok(program)) => Ok(program.reflection.clone()),
            Some(Err(error)) => Err(error.clone()),
            None => Err("not compiled".into()),
        }
    }

    fn meets(&self, variant: &str, request: &ShaderRequest) {
        if !self.listed.contains(request) {
            self.met.lock().unwrap().insert((variant.into(), request.clone()));
        }
    }

    /// Translates what was met and is in no family's list: other values for what
    /// the lists instantiate, so a quick run takes one in five.
    fn mistranslated(&self) -> Vec<String> {
        let check = |(name, request): &(String, ShaderRequest)| {
            let own = variants().find(|(f, v)| *name == format!("{}/{}", f.name, v.name));
            match (own, compiled(request).get()) {
                (Some((_, variant)), Some(Ok(_))) => mistranslated(variant, name, request),
                (None, _) => vec![format!("no variant is called '{name}'")],
                // Compiling it has failed and was reported.
                _ => Vec::new(),
            }
        };
        let met = self.met.lock().unwrap();
        let some: Vec<_> = met.iter().step_by(if quick() { 5 } else { 1 }).collect();
        some.into_par_iter().flat_map_iter(check).collect()
    }
}

#[test]
fn dispatches_fit_their_shaders_and_devices() {
    let shaders = Shaders::new();
    let families: Vec<CaseFamily> = OPERATORS
        .iter()
        .flat_map(|info| (info.cases)())
        .filter(|family| !family.cpu_only)
        .collect();
    let found: Vec<_> = families.par_iter().map(|family| check_family(family, &shaders)).collect();
    let checked: usize = found.iter().map(|(count, _)| count).sum();
    let mut wrong: BTreeSet<String> = found.into_iter().flat_map(|(_, wrong)| wrong).collect();
    wrong.extend(shaders.mistranslated());
    let shown: Vec<&str> = wrong.iter().take(40).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), shown.join("\n"));
    assert!(checked > 0 || OPERATORS.is_empty(), "nothing was checked");
}

/// Checks the shapes of a family, in a quick run the first and the last or one between, as
/// the seed has it: how many dispatches there were, and what is wrong.
fn check_family(family: &CaseFamily, shaders: &Shaders) -> (usize, Vec<String>) {
    let last = family.shapes.len().saturating_sub(1);
    let turn = seed() + family.label.len() as u64;
    let other = if turn.is_multiple_of(2) { last } else { last.div_ceil(2) };
    let (mut checked, mut wrong) = (0, Vec::new());
    for (i, shape) in family.shapes.iter().enumerate() {
        if quick() && ![0, other].contains(&i) {
            continue;
        }
        let Some(case) = (family.build)(shape) else { continue };
        let operands = Yardstick::operands(&case, 1).unwrap();
        for extents in [Extents::Fixed, Extents::Symbolic] {
            for devices in devices(&case) {
                let setup = match set_up(&case, &operands, extents, &devices) {
                    Ok(setup) => setup,
                    Err(error) => {
                        wrong.push(format!("{} {shape:?}: {error}", family.label));
                        continue;
                    }
                };
                let plan = Plan::new(&setup.graph, &setup.bounds).unwrap();
                for caps in &devices {
                    let at = format!("{} {shape:?} {extents:?} on {}", family.label, caps.name);
                    let (count, what) = check_policies(&plan, caps, shaders);
                    checked += count;
                    wrong.extend(what.iter().map(|what| format!("{at}, {what}")));
                }
            }
        }
    }
    (checked, wrong)
}

/// Checks a plan as the device would run it and with each variant that concerns
/// it: how many dispatches there were, and what is wrong.
fn check_policies(plan: &Plan, caps: &DeviceCaps, shaders: &Shaders) -> (usize, Vec<String>) {
    let (mut checked, mut wrong) = (0, Vec::new());
    for (name, policy) in policies() {
        if name != "default" && !concerns(plan, &name) {
            continue;
        }
        match check_plan(plan, caps, &policy, shaders) {
            Ok(count) => checked += count,
            Err(what) => wrong.push(format!("{name}: {what}")),
        }
    }
    (checked, wrong)
}

/// Operators over whose symbols a lesser device may differ: matrices must be
/// cut at places that are known at run time, or a span that cannot be cut is
/// longer by its bound than by its extent.
const CUT_WHERE_KNOWN: &[&str] =
    &["MatMul", "Reduce", "TopK", "LinearAttention", "StatefulConv", "RNN", "LSTM", "GRU"];

/// The devices that must plan the same symbols.
fn devices(case: &Case) -> Vec<Vec<DeviceCaps>> {
    if CUT_WHERE_KNOWN.iter().any(|name| case.op.name().contains(name)) {
        return vec![vec![least()], vec![most()]];
    }
    vec![vec![least(), most()]]
}

/// The graph of a case with symbols wherever a device that has everything can
/// plan them, unless the only one it is for refuses to.
fn set_up(
    case: &Case,
    operands: &[Option<Tensor>],
    extents: Extents,
    devices: &[DeviceCaps],
) -> Result<Setup, Error> {
    let plans = |setup: &Setup, caps: &DeviceCaps| {
        let plan = Plan::new(&setup.graph, &setup.bounds)?;
        dispatches(&plan, caps, &Policy::default()).map(|_| ())
    };
    Setup::new(case, operands, extents, |setup| {
        let refused = match devices {
            [only] => plans(setup, only).is_err_and(|error| {
                matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Limit)
            }),
            _ => false,
        };
        !refused && plans(setup, &most()).is_ok()
    })
}

/// What cannot be cut is an error that names the operand.
#[test]
fn a_row_over_the_limit_is_a_typed_error() {
    const LONG: usize = (1 << 18) + 1;
    let f32 = |extents: &[usize]| CaseInput::run(DType::F32, extents);
    let i32 = |extents: &[usize]| CaseInput::run(DType::I32, extents).values(Values::Whole(0, 1));
    let rotary = RotaryEmbedding { interleaved: false, rotary_dim: 2 };
    let scatter = TensorScatter { axis: 2, token_major: true, skip: false };
    let gather = Gather { axis: 0, batch_dims: 0 };
    let window = Window { kernel_shape: vec![2], ..Window::default() };
    let pool = MaxPool { window, indices: None };
    let cases = [
        (
            "a row of a normalisation",
            Case::new(Normalization::rms(1e-5), [f32(&[2, LONG]), f32(&[LONG])]),
        ),
        ("a row of Softmax", Case::new(Softmax { axis: -1 }, [f32(&[2, LONG])])),
        ("a row of Softmax", Case::new(Softmax { axis: 0 }, [f32(&[2, LONG])])),
        ("data of Gather", Case::new(gather, [f32(&[2, LONG]), i32(&[1])])),
        (
            "x of RotaryEmbedding",
            Case::new(rotary, [f32(&[1, 1, LONG, 2]), f32(&[3, 1]), f32(&[3, 1]), i32(&[1, 1])]),
        ),
        (
            "update of TensorScatter",
            Case::new(scatter, [f32(&[1, 1, 2, LONG]), f32(&[1, 2, 1, LONG]), i32(&[1])]),
        ),
        (
            "key or value cache",
            Case::new(
                Attention::default(),
                [f32(&[1, 1, 1, LONG]), f32(&[1, 1, 2, LONG]), f32(&[1, 1, 2, 4]), i32(&[1])],
            ),
        ),
        (
            "the input of a convolution",
            Case::new(Conv::default(), [f32(&[1, 2, LONG]), f32(&[1, 2, LONG - 5])]),
        ),
        (
            "the weights of a convolution",
            Case::new(
                Conv { pads: vec![LONG, LONG], ..Conv::default() },
                [f32(&[1, 1, 5]), f32(&[1, 1, LONG])],
            ),
        ),
        ("a plane of a pool", Case::new(pool, [f32(&[1, 2, LONG])])),
    ];
    for (named, case) in cases {
        let operands = Yardstick::operands(&case, 1).unwrap();
        let setup = Setup::new(&case, &operands, Extents::Fixed, |_| false).unwrap();
        let plan = Plan::new(&setup.graph, &setup.bounds).unwrap();
        dispatches(&plan, &most(), &Policy::default()).unwrap();
        let error = dispatches(&plan, &least(), &Policy::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains(named), "'{error}' does not name '{named}'");
    }
}

/// Whether a forced variant can make a difference to a plan.
fn concerns(plan: &Plan, forced: &str) -> bool {
    let room = |name: &str| name.split(['.', '/']).next().unwrap_or(name).to_string();
    forced == "f16" || plan.calls().any(|call| room(call.kernel.name()) == room(forced))
}

/// Checks every dispatch of a plan; how many there were.
fn check_plan(
    plan: &Plan,
    caps: &DeviceCaps,
    policy: &Policy,
    shaders: &Shaders,
) -> Result<usize, String> {
    let calls = match dispatches(plan, caps, policy) {
        Ok(calls) => calls,
        // A device may lack what a forced variant needs, and a variant may not
        // take all operands. Without force there must be one.
        Err(error) if policy_may_fail(&error, policy) => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let mut count = 0;
    for (call, dispatches) in calls {
        for dispatch in dispatches {
            count += 1;
            let reflection = shaders.reflection(&dispatch.shader)?;
            shaders.meets(&dispatch.variant, &dispatch.shader);
            check_fits(&dispatch.variant, &reflection, caps).map_err(|e| e.to_string())?;
            check_dispatch(plan, call, &dispatch, &reflection, caps)
                .map_err(|what| format!("{} ({}): {what}", dispatch.variant, dispatch.shader))?;
        }
    }
    Ok(count)
}

fn policy_may_fail(error: &Error, policy: &Policy) -> bool {
    !policy.force.is_empty() && error.kind() == ErrorKind::Unsupported
}

fn check_dispatch(
    plan: &Plan,
    call: &Call,
    dispatch: &Dispatch,
    reflection: &Reflection,
    caps: &DeviceCaps,
) -> Result<(), String> {
    check_params(dispatch, reflection)?;
    check_grid(plan, dispatch, caps)?;
    let names: Vec<&str> = dispatch.bindings.iter().map(|(name, _)| *name).collect();
    let storage = reflection.bindings.iter().filter(|b| b.kind != BindingKind::Uniform);
    let mut wanted: Vec<&str> = storage.map(|b| b.name.as_str()).collect();
    let mut given = names.clone();
    wanted.sort_unstable();
    given.sort_unstable();
    if wanted != given {
        return Err(format!("the shader binds {wanted:?}, the host {given:?}"));
    }
    let mut bound: Vec<(String, BindingKind)> = Vec::new();
    for (name, view) in &dispatch.bindings {
        let binding = reflection.binding(name).ok_or("a vanished binding")?;
        let buffer =
            check_view(plan, call, view, caps).map_err(|what| format!("'{name}': {what}"))?;
        for (other, kind) in &bound {
            let written = *kind == BindingKind::ReadWrite || binding.kind == BindingKind::ReadWrite;
            if *other == buffer && written {
                return Err(format!(
                    "'{name}' shares {buffer} with another binding, one is written"
                ));
            }
        }
        let output = matches!(view.place, Place::Output(_) | Place::Scratch(_) | Place::Status);
        if binding.kind == BindingKind::ReadWrite && !output {
            return Err(format!("'{name}' writes to {:?}", view.place));
        }
        bound.push((buffer, binding.kind));
    }
    Ok(())
}

fn check_params(dispatch: &Dispatch, reflection: &Reflection) -> Result<(), String> {
    let members = reflection.params().map_or(&[][..], |params| &params.members);
    let mut wanted: Vec<(&str, Scalar)> =
        members.iter().map(|member| (member.name.as_str(), member.scalar)).collect();
    let scalar = |param: &Param| match param {
        Param::Dim(_) | Param::U32(_) | Param::Status(_) => Scalar::U32,
        Param::I32(_) => Scalar::I32,
        Param::F32(_) => Scalar::F32,
    };
    let mut given: Vec<(&str, Scalar)> =
        dispatch.params.iter().map(|(name, param)| (*name, scalar(param))).collect();
    wanted.sort_by_key(|(name, _)| *name);
    given.sort_by_key(|(name, _)| *name);
    if wanted == given { Ok(()) } else { Err(format!("parameters {wanted:?}, given {given:?}")) }
}

/// Grid and parameters at the bounds, the largest they can be.
fn check_grid(plan: &Plan, dispatch: &Dispatch, caps: &DeviceCaps) -> Result<(), String> {
    let eval = |dim: &wginfer::graph::Dim| dim.eval(&plan.bounds).map_err(|e| e.to_string());
    for (name, param) in &dispatch.params {
        if let Param::Dim(dim) = param
            && eval(dim)? > u64::from(u32::MAX)
        {
            return Err(format!("parameter '{name}' is over 32 bits"));
        }
    }
    let most = u64::from(caps.limits.max_compute_workgroups_per_dimension);
    let fits = match &dispatch.grid {
        Grid::Linear(n) => eval(n)? <= most * most,
        Grid::Xyz(x, y, z) => eval(x)? <= most && eval(y)? <= most && eval(z)? <= most,
    };
    eval(&dispatch.work)?;
    if fits { Ok(()) } else { Err(format!("the grid {:?} is too large", dispatch.grid)) }
}

/// Checks a view against its region and the device; names the buffer behind it.
fn check_view(plan: &Plan, call: &Call, view: &View, caps: &DeviceCaps) -> Result<String, String> {
    let align = u64::from(caps.storage_alignment());
    if !view.offset.is_multiple_of(align) {
        return Err(format!("offset {} is no multiple of {align}", view.offset));
    }
    let missing = || format!("{:?} does not exist", view.place);
    let (buffer, bytes) = match view.place {
        Place::Scratch(number) => {
            let size = view.size.ok_or("scratch memory without a size")?;
            (format!("scratch {number}"), view.offset + size)
        }
        Place::Status => ("the status word".into(), 4),
        Place::Codebook(dtype) => {
            let layout = DeviceLayout::of(dtype).ok_or_else(missing)?;
            (format!("the codebook of {dtype}"), layout.codebook().len() as u64 * 2)
        }
        Place::Input(i) | Place::Head(i) => {
            let id = call.inputs.get(i).copied().flatten().ok_or_else(missing)?;
            let operand = &plan.operands[id.index()];
            let head = matches!(view.place, Place::Head(_));
            let bytes = region(&operand.ty, operand.home, head, &plan.bounds)?;
            // The two regions of a weight are parts of one buffer, only read.
            (format!("{:?}", operand.home), bytes)
        }
        Place::Output(i) => {
            let id = call.outputs.get(i).copied().ok_or_else(missing)?;
            let operand = &plan.operands[id.index()];
            if matches!(operand.home, Home::Constant(_) | Home::Input(_) | Home::Unused) {
                return Err(format!("{:?} cannot be written", operand.home));
            }
            (format!("{:?}", operand.home), region(&operand.ty, operand.home, false, &plan.bounds)?)
        }
    };
    let size = view.size.unwrap_or(bytes.saturating_sub(view.offset));
    // Buffers are padded to whole words.
    if view.offset + size > bytes.next_multiple_of(4) {
        return Err(format!("{view:?} ends after {bytes} bytes"));
    }
    if size > caps.max_binding() {
        return Err(format!("{size} bytes are over the binding limit {}", caps.max_binding()));
    }
    Ok(buffer)
}

/// Bytes of an operand's region.
fn region(
    ty: &wginfer::graph::TensorType,
    home: Home,
    head: bool,
    bounds: &Bindings,
) -> Result<u64, String> {
    let bytes = ty.device_bytes(bounds).map_err(|e| e.to_string())? as u64;
    let constant = matches!(home, Home::Constant(_));
    let layout = DeviceLayout::of(ty.dtype).filter(|_| ty.dtype.is_quantised() && constant);
    let Some(layout) = layout else {
        return if head { Err("no quantised constant, no head".into()) } else { Ok(bytes) };
    };
    let blocks = bytes as usize / ty.dtype.block_bytes();
    let region = if head { layout.head_bytes(blocks) } else { layout.body_bytes(blocks) };
    region.map(|bytes| bytes as u64).map_err(|e| e.to_string())
}
