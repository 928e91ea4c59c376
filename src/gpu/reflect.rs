//! What the host needs to know of a compiled shader: bindings by name, the
//! layout of its parameters, its workgroup, and which features it uses.

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use serde::{Deserialize, Serialize};

/// How a binding is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindingKind {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`.
    Uniform,
}

/// One resource of a shader, in group 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The variable's name, as the source spells it.
    pub name: String,
    /// Its `@binding` number.
    pub binding: u32,
    /// How it is used.
    pub kind: BindingKind,
    /// Whether it is writable only because the request says so; nothing writes there.
    pub lent: bool,
    /// The least bytes that must be bound: the whole type, or one element of
    /// a run-time sized array.
    pub min_size: u64,
    /// Bytes from one array element to the next; 0 for a type of fixed size.
    pub stride: u64,
    /// The members, where the type is a struct of numbers.
    pub members: Vec<Member>,
}

/// The scalar a member is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scalar {
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit signed integer.
    I32,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
}

impl Scalar {
    /// Bytes of one.
    pub fn size(self) -> u32 {
        if self == Scalar::F16 { 2 } else { 4 }
    }
}

/// One member of a parameter struct: `count` scalars one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's name; `outer.inner` in a nested struct.
    pub name: String,
    /// Bytes from the start of the struct.
    pub offset: u32,
    /// The scalar type.
    pub scalar: Scalar,
    /// How many: 1, or the length of a vector or of an array of `vec4`.
    pub count: u32,
    /// Bytes in all.
    pub size: u32,
}

/// Optional device features a shader uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Uses {
    /// f16 types.
    pub f16: bool,
    /// Subgroup operations or built-ins.
    pub subgroups: bool,
    /// Cooperative matrices.
    pub coop: bool,
    /// 64-bit integers.
    pub int64: bool,
    /// `var<immediate>`.
    pub immediates: bool,
    /// Products of four integers of eight bits at once, which WGSL has for every device,
    /// whether its hardware does or not.
    #[serde(default)]
    pub packed_products: bool,
}

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reflection {
    /// The entry point's name.
    pub entry: String,
    /// Resources the entry point uses, by binding number.
    pub bindings: Vec<Binding>,
    /// Invocations per workgroup along x, y, z.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory the entry point uses.
    pub workgroup_bytes: u32,
    /// Bytes of `var<immediate>`, 0 without.
    pub immediate_bytes: u32,
    /// The members of `var<immediate>`, where it is a struct.
    pub immediates: Vec<Member>,
    /// Optional features used.
    pub uses: Uses,
}

impl Reflection {
    /// The binding called `name`.
    pub fn binding(&self, name: &str) -> Option<&Binding> {
        self.bindings.iter().find(|b| b.name == name)
    }

    /// The parameters: the only uniform there is.
    pub fn params(&self) -> Option<&Binding> {
        self.bindings.iter().find(|b| b.kind == BindingKind::Uniform)
    }

    /// Invocations per workgroup in all.
    pub fn invocations(&self) -> u64 {
        self.workgroup_size.iter().map(|&n| u64::from(n)).product()
    }
}

/// Everything a shader of this crate may need; unused ones cost nothing.
const ALL: Capabilities = Capabilities::SHADER_FLOAT16
    .union(Capabilities::SHADER_FLOAT16_IN_FLOAT32)
    .union(Capabilities::SUBGROUP)
    .union(Capabilities::SUBGROUP_BARRIER)
    .union(Capabilities::COOPERATIVE_MATRIX)
    .union(Capabilities::SHADER_INT64)
    .union(Capabilities::IMMEDIATES);

fn validate(
    module: &naga::Module,
    capabilities: Capabilities,
) -> Result<ModuleInfo, Box<naga::WithSpan<naga::valid::ValidationError>>> {
    Validator::new(ValidationFlags::all(), capabilities).validate(module).map_err(Box::new)
}

/// Validates a module and describes its only compute entry point. `original`
/// gives a variable's name before the import step renamed it.
///
/// # Errors
/// The compiler's message or the rule broken, as text.
pub(crate) fn reflect(
    module: &naga::Module,
    wgsl: &str,
    original: impl Fn(&str) -> String,
) -> Result<Reflection, String> {
    let info = validate(module, ALL).map_err(|e| e.emit_to_string(wgsl))?;
    let entry = match module.entry_points.as_slice() {
        [one] if one.stage == naga::ShaderStage::Compute => one,
        other => return Err(format!("one compute entry point is needed, found {}", other.len())),
    };
    if entry.workgroup_size_overrides.is_some() {
        return Err("the workgroup size must be constants, not overrides".into());
    }
    let used = info.get_entry_point(0);
    let mut found = Reflection {
        entry: entry.name.clone(),
        bindings: Vec::new(),
        workgroup_size: entry.workgroup_size,
        workgroup_bytes: 0,
        immediate_bytes: 0,
        immediates: Vec::new(),
        uses: uses(module),
    };
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
    for (handle, variable) in module.global_variables.iter() {
        if used[handle].is_empty() {
            continue;
        }
        let size = layouter[variable.ty].size;
        match variable.space {
            naga::AddressSpace::WorkGroup => {
                let padded = size.checked_next_multiple_of(16);
                let total = padded.and_then(|s| found.workgroup_bytes.checked_add(s));
                found.workgroup_bytes = total.ok_or("workgroup memory overflows")?;
            }
            naga::AddressSpace::Immediate => {
                found.immediate_bytes = size.next_multiple_of(4);
                found.immediates = members(module, variable.ty)?;
            }
            naga::AddressSpace::Private => {}
            _ => found.bindings.push(binding(module, variable, size, &original)?),
        }
    }
    found.bindings.sort_by_key(|b| b.binding);
    for pair in found.bindings.windows(2) {
        if pair[0].binding == pair[1].binding {
            let (a, b) = (&pair[0].name, &pair[1].name);
            return Err(format!("'{a}' and '{b}' share @binding({})", pair[0].binding));
        }
    }
    for (i, b) in found.bindings.iter().enumerate() {
        if found.bindings[..i].iter().any(|other| other.name == b.name) {
            return Err(format!("two bindings are called '{}'", b.name));
        }
    }
    if found.bindings.iter().filter(|b| b.kind == BindingKind::Uniform).count() > 1 {
        return Err("only one uniform is allowed, the parameters".into());
    }
    Ok(found)
}

fn binding(
    module: &naga::Module,
    variable: &naga::GlobalVariable,
    size: u32,
    original: impl Fn(&str) -> String,
) -> Result<Binding, String> {
    let name = original(variable.name.as_deref().unwrap_or_default());
    let kind = match variable.space {
        naga::AddressSpace::Uniform => BindingKind::Uniform,
        naga::AddressSpace::Storage { access } => {
            if access.contains(naga::StorageAccess::STORE) {
                BindingKind::ReadWrite
            } else {
                BindingKind::Read
            }
        }
        _ => return Err(format!("'{name}' is not a storage or uniform buffer")),
    };
    let place = match variable.binding {
        Some(place) if place.group == 0 => place,
        _ => return Err(format!("'{name}' must have @group(0) and a @binding")),
    };
    let (stride, members) = match &module.types[variable.ty].inner {
        naga::TypeInner::Array { size: naga::ArraySize::Dynamic, stride, .. } => {
            (u64::from(*stride), Vec::new())
        }
        naga::TypeInner::Struct { .. } if kind == BindingKind::Uniform => {
            (0, members(module, variable.ty)?)
        }
        _ => (0, Vec::new()),
    };
    // The layouter's size of a run-time sized array is one element.
    let min_size = u64::from(size).max(stride).max(4);
    Ok(Binding { name, binding: place.binding, kind, lent: false, min_size, stride, members })
}

/// The members of a parameter struct, or an error for one the host cannot write.
fn members(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Result<Vec<Member>, String> {
    let mut out = Vec::new();
    flatten(module, ty, String::new(), 0, &mut out)?;
    Ok(out)
}

fn flatten(
    module: &naga::Module,
    ty: naga::Handle<naga::Type>,
    name: String,
    offset: u32,
    out: &mut Vec<Member>,
) -> Result<(), String> {
    use naga::TypeInner as T;
    let (scalar, count) = match &module.types[ty].inner {
        T::Struct { members, .. } => {
            for m in members {
                let inner = m.name.as_deref().unwrap_or_default();
                let path = if name.is_empty() { inner.into() } else { format!("{name}.{inner}") };
                flatten(module, m.ty, path, offset + m.offset, out)?;
            }
            return Ok(());
        }
        T::Scalar(s) => (*s, 1),
        T::Vector { size, scalar } => (*scalar, *size as u32),
        T::Array { base, size: naga::ArraySize::Constant(n), stride } => {
            match &module.types[*base].inner {
                T::Scalar(s) if *stride == u32::from(s.width) => (*s, n.get()),
                T::Vector { size, scalar } if *stride == u32::from(scalar.width) * *size as u32 => {
                    (*scalar, n.get().saturating_mul(*size as u32))
                }
                _ => return Err(format!("parameter '{name}' has gaps; use an array of vec4")),
            }
        }
        _ => return Err(format!("parameter '{name}' is not made of numbers")),
    };
    let scalar = match (scalar.kind, scalar.width) {
        (naga::ScalarKind::Uint, 4) => Scalar::U32,
        (naga::ScalarKind::Sint, 4) => Scalar::I32,
        (naga::ScalarKind::Float, 4) => Scalar::F32,
        (naga::ScalarKind::Float, 2) => Scalar::F16,
        _ => return Err(format!("parameter '{name}' must be u32, i32, f32 or f16")),
    };
    let size = count.saturating_mul(scalar.size());
    out.push(Member { name, offset, scalar, count, size });
    Ok(())
}

/// A feature is used if the module is refused without it.
fn uses(module: &naga::Module) -> Uses {
    let packed_products = multiplies_packed(module);
    if validate(module, Capabilities::empty()).is_ok() {
        return Uses { packed_products, ..Uses::default() };
    }
    let needs = |c: Capabilities| validate(module, ALL - c).is_err();
    Uses {
        f16: needs(Capabilities::SHADER_FLOAT16),
        subgroups: needs(Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER),
        coop: needs(Capabilities::COOPERATIVE_MATRIX),
        int64: needs(Capabilities::SHADER_INT64),
        immediates: needs(Capabilities::IMMEDIATES),
        packed_products,
    }
}

/// Whether a function of the module has `dot4I8Packed` or `dot4U8Packed`.
fn multiplies_packed(module: &naga::Module) -> bool {
    use naga::MathFunction::{Dot4I8Packed, Dot4U8Packed};
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    let functions = module.functions.iter().map(|(_, function)| function);
    functions
        .chain(entries)
        .flat_map(|function| function.expressions.iter())
        .any(|(_, e)| matches!(e, naga::Expression::Math { fun: Dot4I8Packed | Dot4U8Packed, .. }))
}
