//! Temporary.
mod caps;
pub use caps::*;
use std::borrow::Cow;
use std::sync::Arc;
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConstValue {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
}
#[derive(Debug, Clone)]
pub struct ShaderRequest {
    pub file: Cow<'static, str>,
    pub consts: Vec<(Cow<'static, str>, ConstValue)>,
    pub features: Vec<Cow<'static, str>>,
    pub modules: Vec<(&'static str, &'static str)>,
    pub source_override: Option<Arc<str>>,
}
#[derive(Debug)]
pub struct AdapterInfo {
    pub name: String,
    pub device_type: wgpu::DeviceType,
    pub backend: wgpu::Backend,
    pub min_subgroup_size: u32,
    pub max_subgroup_size: u32,
    pub coop_shapes: Vec<CoopShape>,
}
impl AdapterInfo {
    fn driver_line(&self) -> String {
        String::new()
    }
}
