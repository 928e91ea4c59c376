//! Has a driver compile every shader that its device can run.
//!
//! `pipelines ADAPTER [VARIANT [PART...]]`: of the adapter whose name contains ADAPTER, the
//! variants whose names contain VARIANT, with the shaders whose descriptions contain each
//! PART (or do not, after `!`). Nothing is dispatched, so a driver without a device behind
//! it will do: `scripts/driver_compilers.sh` runs this on Mesa's drivers for AMD's and
//! NVIDIA's devices.
//!
//! On stderr a line for each shader before it is compiled and one after it, as a driver
//! that is asked to (`RADV_DEBUG=shaderstats`) writes there what it makes of each.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use wginfer::Error;
use wginfer::gpu::{AdapterChoice, DeviceOptions, Gpu, Picked, pick};
use wginfer::kernels::registry::FAMILIES;
use wginfer::store::{InMemory, Store, StoreChoice};

fn open(name: String) -> Result<Arc<Gpu>, Error> {
    let adapter = match pollster::block_on(pick(AdapterChoice::Name(name)))? {
        Picked::Gpu { adapter, .. } => adapter,
        Picked::Cpu { why } => return Err(Error::NoAdapter { what: why, available: Vec::new() }),
    };
    // How halves are widened is found out by a dispatch, which a driver without a device
    // does not run; devices do it right.
    let store = InMemory::default();
    let key = format!("halves-{}", adapter.info.fingerprint());
    store.update(&key, &mut |_| Some(vec![1]));
    let options =
        DeviceOptions { store: StoreChoice::Own(Arc::new(store)), ..DeviceOptions::default() };
    Gpu::open_blocking(&adapter, options)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(adapter) = arguments.next() else {
        eprintln!("usage: pipelines ADAPTER [VARIANT [PART...]]");
        return ExitCode::from(2);
    };
    let variant_part = arguments.next().unwrap_or_default();
    let parts: Vec<String> = arguments.collect();
    let wanted = |shader: &str| {
        parts.iter().all(|part| match part.strip_prefix('!') {
            Some(part) => !shader.contains(part),
            None => shader.contains(part.as_str()),
        })
    };
    let gpu = match open(adapter) {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let [mut compiled, mut failed, mut lacking] = [0; 3];
    for (family, variant) in
        FAMILIES.iter().flat_map(|family| family.variants.iter().map(move |v| (family, v)))
    {
        let name = format!("{}/{}", family.name, variant.name);
        if !name.contains(&variant_part) {
            continue;
        }
        if let Some(what) = variant.needs.lacking(gpu.caps()) {
            eprintln!("LACKS {name}: {what}");
            lacking += 1;
            continue;
        }
        let requests = (family.requests)(variant);
        for request in requests.iter().filter(|request| wanted(&request.to_string())) {
            eprintln!("COMPILES {name} {request}");
            let start = Instant::now();
            match gpu.pipeline(request) {
                Ok(_) => {
                    eprintln!("COMPILED {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
                    compiled += 1;
                }
                Err(error) => {
                    eprintln!("FAILED {name} {request}: {error}");
                    failed += 1;
                }
            }
        }
    }
    println!(
        "{compiled} shaders compiled, {failed} failed; {lacking} variants need what is missing"
    );
    if failed == 0 && compiled > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
