//! Which adapters exist, and which one to use.
//!
//! Without a choice the order is: discrete GPU, integrated GPU, virtual GPU,
//! then the CPU backend. A software adapter (lavapipe, SwiftShader, WARP) is
//! used only when asked for, because the CPU backend is faster.

use super::caps::CoopShape;
use super::{loader, matrices};
use crate::error::{Error, Result};

/// What is known of an adapter without opening it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// Position in [`adapters`]' list.
    pub index: usize,
    /// The adapter's name.
    pub name: String,
    /// The graphics interface under WebGPU.
    pub backend: wgpu::Backend,
    /// Discrete, integrated, virtual, software or unknown.
    pub device_type: wgpu::DeviceType,
    /// The driver's name.
    pub driver: String,
    /// The driver's version and build.
    pub driver_info: String,
    /// The vendor's number (PCI where there is one).
    pub vendor: u32,
    /// The device's number (PCI where there is one).
    pub device: u32,
    /// The best limits a device can be opened with.
    pub limits: wgpu::Limits,
    /// The features a device can be opened with.
    pub features: wgpu::Features,
    /// Cooperative-matrix configurations; empty when there are none.
    pub coop_shapes: Vec<CoopShape>,
    /// Smallest subgroup, in invocations.
    pub min_subgroup_size: u32,
    /// Largest subgroup, in invocations.
    pub max_subgroup_size: u32,
    /// Whether the adapter runs on the CPU.
    pub is_software: bool,
    /// Whether it can run compute shaders at all.
    pub compute: bool,
}

impl AdapterInfo {
    fn new(index: usize, raw: &wgpu::Adapter) -> Self {
        let i = raw.get_info();
        let mut features = raw.features();
        let matrices = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let coop = features.contains(matrices) && matrices::are_offered(raw);
        features.set(matrices, coop);
        AdapterInfo {
            index,
            is_software: is_software(i.device_type, &i.name),
            name: i.name,
            backend: i.backend,
            device_type: i.device_type,
            driver: i.driver,
            driver_info: i.driver_info,
            vendor: i.vendor,
            device: i.device,
            limits: raw.limits(),
            features,
            coop_shapes: if coop {
                raw.cooperative_matrix_properties().into_iter().map(CoopShape::from).collect()
            } else {
                Vec::new()
            },
            min_subgroup_size: i.subgroup_min_size,
            max_subgroup_size: i.subgroup_max_size,
            compute: raw
                .get_downlevel_capabilities()
                .flags
                .contains(wgpu::DownlevelFlags::COMPUTE_SHADERS),
        }
    }

    /// Driver name and version on one line.
    pub fn driver_line(&self) -> String {
        [self.driver.as_str(), self.driver_info.as_str()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The same for the same adapter, interface and version of the driver, and for
    /// nothing else, as 32 letters and digits.
    pub fn fingerprint(&self) -> String {
        let (vendor, device) = (self.vendor.to_le_bytes(), self.device.to_le_bytes());
        let backend = self.backend.to_string();
        let texts = [&self.name, &backend, &self.driver, &self.driver_info].map(|t| t.as_bytes());
        crate::store::fingerprint(&[texts[0], texts[1], texts[2], texts[3], &vendor, &device])
    }

    /// Name, backend and kind, for lists and messages.
    pub fn title(&self) -> String {
        format!("{} ({}, {})", self.name, self.backend, self.kind())
    }

    /// The kind in words: `discrete GPU`, `integrated GPU`, `virtual GPU`,
    /// `software` or `GPU`.
    pub fn kind(&self) -> &'static str {
        match self.device_type {
            _ if self.is_software => "software",
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "GPU",
        }
    }

    /// Why the kernels of this crate cannot run here, if so.
    pub fn unusable(&self) -> Option<String> {
        let l = &self.limits;
        if !self.compute {
            Some("it has no compute shaders".into())
        } else if l.max_storage_buffers_per_shader_stage < 8 {
            Some(format!(
                "it binds only {} storage buffers, 8 are needed",
                l.max_storage_buffers_per_shader_stage
            ))
        } else if l.max_compute_invocations_per_workgroup < 128 {
            Some(format!(
                "its workgroups have only {} invocations, 128 are needed",
                l.max_compute_invocations_per_workgroup
            ))
        } else {
            None
        }
    }

    /// Preference among adapters; lower is better.
    fn rank(&self) -> (u8, u8, usize) {
        let kind = match self.device_type {
            _ if self.is_software => 4,
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            // The browser does not tell the kind; whatever it offers is a GPU.
            wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
            wgpu::DeviceType::Cpu => 4,
        };
        // OpenGL reaches the same GPU with fewer features.
        let interface = u8::from(self.backend == wgpu::Backend::Gl);
        (kind, interface, self.index)
    }
}

/// The kind alone is not enough: OpenGL reports some software adapters as "other".
fn is_software(kind: wgpu::DeviceType, name: &str) -> bool {
    let name = name.to_lowercase();
    kind == wgpu::DeviceType::Cpu
        || ["llvmpipe", "lavapipe", "softpipe", "swiftshader", "basic render driver"]
            .iter()
            .any(|s| name.contains(s))
}

/// An adapter that can be opened with [`super::Gpu::open`].
#[derive(Debug, Clone)]
pub struct Adapter {
    pub(crate) raw: wgpu::Adapter,
    /// What is known of it.
    pub info: AdapterInfo,
}

/// Which adapter to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// `WGPU_ADAPTER_NAME` if it is set, else the best GPU, else the CPU backend.
    #[default]
    Auto,
    /// The best adapter whose name or driver contains this, in any case.
    Name(String),
    /// The adapter with this [`AdapterInfo::index`].
    Index(usize),
}

impl AdapterChoice {
    /// `Auto` replaced by `WGPU_ADAPTER_NAME`, where that is set.
    pub fn or_env(self) -> Self {
        match (&self, std::env::var("WGPU_ADAPTER_NAME")) {
            (AdapterChoice::Auto, Ok(name)) if !name.trim().is_empty() => {
                AdapterChoice::Name(name.trim().into())
            }
            _ => self,
        }
    }
}

/// The outcome of [`pick`]. The reason can be printed.
#[derive(Debug, Clone)]
pub enum Picked {
    /// Use this adapter.
    Gpu {
        /// The adapter to open.
        adapter: Box<Adapter>,
        /// Why it and no other.
        why: String,
    },
    /// Use the CPU backend.
    Cpu {
        /// Why no adapter.
        why: String,
    },
}

/// All adapters, from the backends named in `WGPU_BACKEND` if it is set.
///
/// OpenGL is tried only when nothing better exists or when it is named.
///
/// # Errors
/// `Input` when `WGPU_BACKEND` names no backend.
pub async fn adapters() -> Result<Vec<Adapter>> {
    let named = wgpu::Backends::from_env();
    match named {
        Some(b) if b.is_empty() => Err(Error::input(
            "WGPU_BACKEND",
            "a list of vulkan, metal, dx12, gl, webgpu",
            std::env::var("WGPU_BACKEND").unwrap_or_default(),
        )),
        Some(b) => Ok(enumerate(b).await),
        None => {
            let best = enumerate(wgpu::Backends::PRIMARY).await;
            if best.is_empty() { Ok(enumerate(wgpu::Backends::SECONDARY).await) } else { Ok(best) }
        }
    }
}

async fn enumerate(backends: wgpu::Backends) -> Vec<Adapter> {
    // wgpu panics rather than return an instance without any compiled-in backend.
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        // Debug builds run what release builds run; the environment can ask for checks.
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let raw = instance.enumerate_adapters(backends).await;
    raw.into_iter()
        .enumerate()
        .map(|(index, raw)| Adapter { info: AdapterInfo::new(index, &raw), raw })
        .collect()
}

/// Chooses an adapter, or the CPU backend, and says why.
///
/// # Errors
/// `NoAdapter` when a named or numbered adapter does not exist or cannot run
/// the kernels; it lists the adapters there are.
pub async fn pick(choice: AdapterChoice) -> Result<Picked> {
    let all = adapters().await?;
    let infos: Vec<_> = all.iter().map(|a| a.info.clone()).collect();
    match choose(&infos, &choice.or_env())? {
        (Some(i), why) => match all.into_iter().nth(i) {
            Some(adapter) => Ok(Picked::Gpu { adapter: Box::new(adapter), why }),
            None => Err(Error::internal("an adapter vanished while it was picked")),
        },
        (None, why) => Ok(Picked::Cpu { why }),
    }
}

/// The same as [`pick`], on data: a position in `infos` or none, and the reason.
fn choose(infos: &[AdapterInfo], choice: &AdapterChoice) -> Result<(Option<usize>, String)> {
    let none = |what: String| Error::NoAdapter {
        what: if infos.is_empty() { format!("{what}; {}", loader::missing()) } else { what },
        available: infos.iter().map(|i| format!("{}: {}", i.index, i.title())).collect(),
    };
    let explicit = |position: usize, why: &str| match infos[position].unusable() {
        Some(reason) => {
            Err(none(format!("{} was asked for, but {reason}", infos[position].title())))
        }
        None => Ok((Some(position), format!("{}: {why}", infos[position].title()))),
    };
    match choice {
        AdapterChoice::Index(i) => match infos.iter().position(|a| a.index == *i) {
            Some(p) => explicit(p, &format!("asked for by number {i}")),
            None => Err(none(format!("there is no adapter number {i}"))),
        },
        AdapterChoice::Name(name) => match best(infos, |a| matches(a, name)) {
            Some(p) => explicit(p, &format!("asked for as '{name}'")),
            None => Err(none(format!("no adapter's name contains '{name}'"))),
        },
        AdapterChoice::Auto => Ok(auto(infos)),
    }
}

fn auto(infos: &[AdapterInfo]) -> (Option<usize>, String) {
    if let Some(p) = best(infos, |a| !a.is_software && a.unusable().is_none()) {
        let others = infos.iter().filter(|a| !a.is_software).count() - 1;
        let why = match others {
            0 => "the only GPU".to_string(),
            n => format!("the best of {} GPUs", n + 1),
        };
        return (Some(p), format!("{}: {why}", infos[p].title()));
    }
    let why = if infos.is_empty() {
        format!("no adapter found ({})", loader::missing())
    } else {
        let why: Vec<_> = infos
            .iter()
            .map(|a| {
                let reason = match a.unusable() {
                    Some(reason) => reason,
                    None => "software adapters are used only when asked for".into(),
                };
                format!("{}: {reason}", a.title())
            })
            .collect();
        format!("no GPU found; {}", why.join("; "))
    };
    (None, why)
}

fn matches(info: &AdapterInfo, name: &str) -> bool {
    let name = name.to_lowercase();
    // What Mesa's project calls it and what its driver says of itself.
    let name = if name == "lavapipe" { "llvmpipe".into() } else { name };
    info.name.to_lowercase().contains(&name) || info.driver.to_lowercase().contains(&name)
}

fn best(infos: &[AdapterInfo], keep: impl Fn(&AdapterInfo) -> bool) -> Option<usize> {
    let kept = infos.iter().enumerate().filter(|(_, a)| keep(a));
    kept.min_by_key(|(_, a)| (a.unusable().is_some(), a.rank())).map(|(p, _)| p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::gpu::DeviceCaps;

    fn info(index: usize, name: &str, device_type: wgpu::DeviceType) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.into(),
            backend: wgpu::Backend::Vulkan,
            device_type,
            driver: "some driver".into(),
            driver_info: "1.2".into(),
            vendor: 0,
            device: 0,
            limits: wgpu::Limits::defaults(),
            features: wgpu::Features::empty(),
            coop_shapes: Vec::new(),
            min_subgroup_size: 4,
            max_subgroup_size: 64,
            is_software: is_software(device_type, name),
            compute: true,
        }
    }

    fn machine() -> Vec<AdapterInfo> {
        use wgpu::DeviceType as T;
        vec![
            info(0, "llvmpipe (LLVM 15)", T::Cpu),
            info(1, "Iris Xe", T::IntegratedGpu),
            info(2, "RTX 9000", T::DiscreteGpu),
            info(3, "virtio", T::VirtualGpu),
        ]
    }

    #[test]
    fn without_a_choice_the_fastest_kind_wins() {
        let mut all = machine();
        for expected in [Some(2), Some(1), Some(3), None] {
            let (got, why) = choose(&all, &AdapterChoice::Auto).unwrap();
            assert_eq!(got.map(|p| all[p].index), expected, "{why}");
            all.retain(|a| Some(a.index) != expected);
        }
        let (_, why) = choose(&all, &AdapterChoice::Auto).unwrap();
        assert!(why.contains("llvmpipe") && why.contains("only when asked for"), "{why}");
        let (none, why) = choose(&[], &AdapterChoice::Auto).unwrap();
        assert!(none.is_none() && why.contains("no adapter found"), "{why}");
    }

    #[test]
    fn opengl_is_second_to_another_interface_to_the_same_gpu() {
        let mut all = machine();
        all[2].backend = wgpu::Backend::Gl;
        all.push(info(4, "RTX 9000", wgpu::DeviceType::DiscreteGpu));
        assert_eq!(choose(&all, &AdapterChoice::Auto).unwrap().0, Some(4));
        assert_eq!(choose(&all, &AdapterChoice::Name("rtx".into())).unwrap().0, Some(4));
    }

    #[test]
    fn a_choice_by_name_or_number_is_kept_or_refused() {
        let all = machine();
        let pick = |c| choose(&all, &c).map(|(p, _)| p);
        assert_eq!(pick(AdapterChoice::Name("LLVM".into())).unwrap(), Some(0));
        assert_eq!(pick(AdapterChoice::Index(1)).unwrap(), Some(1));
        for bad in [AdapterChoice::Name("voodoo".into()), AdapterChoice::Index(9)] {
            let error = pick(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoAdapter);
            assert!(error.to_string().contains("2: RTX 9000"), "{error}");
        }
        let none = choose(&[], &AdapterChoice::Name("x".into())).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::NoAdapter);
    }

    #[test]
    fn an_adapter_that_cannot_run_the_kernels_is_passed_over() {
        let mut all = machine();
        all[2].compute = false;
        all[1].limits.max_storage_buffers_per_shader_stage = 4;
        assert_eq!(choose(&all, &AdapterChoice::Auto).unwrap().0, Some(3));
        let error = choose(&all, &AdapterChoice::Index(2)).unwrap_err();
        assert!(error.to_string().contains("no compute shaders"), "{error}");
    }

    #[test]
    fn what_is_software_by_its_name_stays_so_once_opened() {
        let info = info(0, "llvmpipe (LLVM 15)", wgpu::DeviceType::Other);
        let caps = DeviceCaps::new(&info, wgpu::Features::empty(), info.limits.clone(), None);
        assert!(info.is_software && caps.is_software());
    }
}
