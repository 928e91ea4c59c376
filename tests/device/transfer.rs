//! Memory, uploads, step writes and read-back.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wginfer::gpu::Uploader;

use super::*;

#[test]
fn too_large_is_a_limit_and_the_device_goes_on() {
    let budget = DeviceOptions { memory_budget: Some(1 << 20), ..all() };
    each(&budget, |adapter, gpu| {
        let usage = Purpose::Weights.usage();
        let over = adapter.info.limits.max_buffer_size.saturating_add(1);
        assert_eq!(kind(gpu.alloc(Purpose::Weights, over, usage, "huge")), ErrorKind::Limit);
        assert_eq!(kind(gpu.alloc(Purpose::Weights, u64::MAX, usage, "max")), ErrorKind::Limit);
        let most = gpu.alloc(Purpose::Weights, 900 << 10, usage, "most").unwrap();
        let error = gpu.alloc(Purpose::State, 200 << 10, usage, "more").unwrap_err();
        assert!(
            matches!(&error, Error::Limit { limit_name, limit, .. }
                if limit_name == "memory_budget" && *limit == 1 << 20),
            "{error}"
        );
        drop(most);
        // Pooled bytes give way to the budget.
        drop(storage(&gpu, 800 << 10));
        assert_eq!(gpu.memory().pooled, 800 << 10);
        let state = gpu.alloc(Purpose::State, 900 << 10, usage, "state").unwrap();
        assert_eq!((gpu.memory().pooled, gpu.memory().total), (0, state.size()));
        drop(state);
        Affine::new(&gpu, 10).check(1.0, 1.0);
    });
}

/// Who may take all the memory there is: `software`, the adapters that
/// [`refuses`] names, which is what a child under a limit is told; anything else,
/// every adapter of this machine, which nothing does by itself.
const HOARD: &str = "WGINFER_TEST_OUT_OF_MEMORY";

#[test]
fn running_out_of_memory_is_typed_and_not_fatal() {
    let asked = std::env::var(HOARD).unwrap_or_default();
    if asked.is_empty() {
        return hoard_in_a_child();
    }
    let _alone = MEMORY.write().unwrap_or_else(PoisonError::into_inner);
    each_alone(&all(), |adapter, gpu| {
        if asked != "software" || refuses(adapter) {
            hoard(adapter, &gpu);
        }
    });
}

/// Whether it is a software adapter that says so when memory runs out. A current
/// lavapipe takes its memory from a file that has no size until it is written, and
/// was seen to give out 4 TiB on a machine of 24 GiB.
fn refuses(adapter: &Adapter) -> bool {
    adapter.info.is_software && found::known(&adapter.info) != Some("lavapipe")
}

/// Takes buffers until one is refused.
fn hoard(adapter: &Adapter, gpu: &Arc<Gpu>) {
    let chunk = adapter.info.limits.max_buffer_size.min(256 << 20) & !255;
    let mut held = Vec::new();
    let refused = (0..4096).find_map(|_| {
        gpu.alloc(Purpose::Weights, chunk, Purpose::Weights.usage(), "hoard")
            .map(|buffer| held.push(buffer))
            .err()
    });
    println!("{}: {} buffers of {chunk}, then {refused:?}", adapter.info.title(), held.len());
    assert_eq!(gpu.memory().total, held.len() as u64 * chunk);
    assert!(!held.is_empty());
    drop(held);
    let error = refused.expect("memory is finite");
    assert!(matches!(error, Error::OutOfMemory { bytes, .. } if bytes == chunk), "{error}");
    assert!(!gpu.is_lost());
    Affine::new(gpu, 10).check(1.0, 1.0);
}

/// This test again, with 3 GiB of addresses, from which software adapters take
/// theirs.
#[cfg(unix)]
fn hoard_in_a_child() {
    let limited = found::all().iter().filter(|adapter| refuses(adapter)).count();
    if limited == 0 {
        eprintln!("nothing tested: {HOARD}=all fills the memory of this machine's adapters");
        return;
    }
    // The runner may be the dynamic loader, which is what `current_exe` gives then.
    let program = std::env::args_os().next().unwrap();
    let runner = std::env::var("WGINFER_RUNNER").unwrap_or_default();
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 3145728 && exec \"$@\"", "sh"])
        .args(runner.split_whitespace())
        .arg(program)
        .args(["--exact", "transfer::running_out_of_memory_is_typed_and_not_fatal", "--nocapture"])
        .env(HOARD, "software")
        // Each thread would set addresses aside for its heap.
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{}", child.status);
    assert_eq!(said.matches("then Some(OutOfMemory").count(), limited);
}

/// Nothing limits the memory of one process here.
#[cfg(not(unix))]
fn hoard_in_a_child() {
    eprintln!("nothing tested: {HOARD}=all fills the memory of this machine's adapters");
}

#[test]
fn odd_sizes_survive_upload_and_read_back_in_small_chunks() {
    each(&all(), |_, gpu| {
        for size in [0usize, 1, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1000, 4099, 70001] {
            let bytes = pattern(size);
            let buffer = storage(&gpu, size as u64);
            for chunk in [16, 64, 4096] {
                let mut up = Uploader::new(&gpu, chunk);
                gpu.block_on(up.upload(&buffer, 0, &vec![0xEE; size])).unwrap();
                gpu.block_on(up.upload(&buffer, 0, &bytes)).unwrap();
                assert_eq!(gpu.block_on(gpu.read(&buffer, 0, size as u64)).unwrap(), bytes);
            }
            let mut calls = Vec::new();
            let mut up = Uploader::new(&gpu, 1024);
            let fill = |range: std::ops::Range<u64>, room: &mut [u8]| {
                room.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
                Ok(())
            };
            let progress = |done, total| {
                calls.push(done);
                assert_eq!(total, size as u64);
                Ok(())
            };
            let upload = up.upload_with(&buffer, 0, size as u64, fill, progress);
            gpu.block_on(upload).unwrap();
            assert_eq!(calls.len(), size.div_ceil(1024));
            assert_eq!(calls.last().copied().unwrap_or(0), size as u64);
            assert_eq!(gpu.block_on(gpu.read(&buffer, 0, size as u64)).unwrap(), bytes);
        }
    });
}

#[test]
fn parts_are_written_and_read_at_offsets_and_nothing_else_changes() {
    each(&all(), |_, gpu| {
        let buffer = storage(&gpu, 103);
        gpu.block_on(gpu.upload(&buffer, 0, &[9; 103])).unwrap();
        gpu.block_on(gpu.upload(&buffer, 8, &[1; 12])).unwrap();
        gpu.block_on(gpu.upload(&buffer, 100, &[2; 3])).unwrap();
        let mut expected = vec![9; 103];
        expected[8..20].fill(1);
        expected[100..].fill(2);
        assert_eq!(gpu.block_on(gpu.read(&buffer, 0, 103)).unwrap(), expected);
        assert_eq!(gpu.block_on(gpu.read(&buffer, 16, 7)).unwrap(), expected[16..23]);

        let input = ErrorKind::Input;
        assert_eq!(kind(gpu.block_on(gpu.upload(&buffer, 2, &[0; 4]))), input);
        // This would overwrite the byte after its end.
        assert_eq!(kind(gpu.block_on(gpu.upload(&buffer, 4, &[0; 3]))), input);
        assert_eq!(kind(gpu.block_on(gpu.upload(&buffer, 100, &[0; 4]))), input);
        assert_eq!(kind(gpu.block_on(gpu.upload(&buffer, u64::MAX - 3, &[0; 4]))), input);
        assert_eq!(kind(gpu.block_on(gpu.read(&buffer, 100, 4))), input);
        assert_eq!(gpu.block_on(gpu.read(&buffer, 0, 103)).unwrap(), expected);
    });
}

#[test]
fn an_upload_stops_at_the_first_error_of_its_callbacks() {
    each(&all(), |_, gpu| {
        let buffer = storage(&gpu, 4096);
        let mut up = Uploader::new(&gpu, 1024);
        let cancelled = || Error::Cancelled { doing: "uploading".into() };
        let fill = |_: std::ops::Range<u64>, _: &mut [u8]| Ok(());
        let progress = |done, _| if done >= 2048 { Err(cancelled()) } else { Ok(()) };
        let result = gpu.block_on(up.upload_with(&buffer, 0, 4096, fill, progress));
        assert_eq!(kind(result), ErrorKind::Cancelled);
        // The same uploader goes on.
        gpu.block_on(up.upload(&buffer, 0, &pattern(4096))).unwrap();
        assert_eq!(gpu.block_on(gpu.read(&buffer, 0, 4096)).unwrap(), pattern(4096));
    });
}

#[test]
fn memory_is_accounted_for_and_comes_back() {
    each(&all(), |_, gpu| {
        assert_eq!(gpu.memory(), Default::default());
        let weights = gpu.alloc(Purpose::Weights, 1000, Purpose::Weights.usage(), "w").unwrap();
        let cloned = weights.clone();
        assert_eq!((weights.len(), weights.size()), (1000, 1024));
        assert_eq!(gpu.memory().current(Purpose::Weights), 1024);
        drop(weights);
        assert_eq!(gpu.memory().current(Purpose::Weights), 1024);
        drop(cloned);
        assert_eq!(gpu.memory().total, 0);
        assert_eq!(gpu.memory().peak(Purpose::Weights), 1024);

        let mut affine = Affine::new(&gpu, 5000);
        affine.check(1.0, 2.0);
        let report = gpu.memory();
        // A bind group keeps its buffers, so dropping the handles frees nothing.
        let group = affine.group.clone();
        drop(affine);
        assert_eq!(gpu.memory().current(Purpose::Inputs), report.current(Purpose::Inputs));
        drop(group);
        gpu.trim();
        // The callbacks of finished submissions hold staging buffers until polled.
        gpu.tick();
        let report = gpu.memory();
        assert_eq!((report.total, report.pooled, report.in_use()), (0, 0, 0));
        assert!(report.total_peak >= 2 * 20000);
        gpu.reset_peaks();
        assert_eq!(gpu.memory().total_peak, 0);
    });
}

#[test]
fn freed_buffers_are_reused_when_they_fit_closely() {
    each(&all(), |_, gpu| {
        let first = storage(&gpu, 100 << 10);
        drop(first);
        assert_eq!(gpu.memory().pooled, 100 << 10);
        let fits = storage(&gpu, 96 << 10);
        assert_eq!((fits.len(), fits.size()), (96 << 10, 100 << 10));
        assert_eq!(gpu.counters().buffers, 1);
        assert_eq!(gpu.counters().buffers_reused, 1);
        drop(fits);
        let small = storage(&gpu, 90 << 10);
        assert_eq!(small.size(), 90 << 10);
        assert_eq!(gpu.counters().buffers, 2);
        let total = gpu.memory().total;
        gpu.trim();
        assert_eq!(gpu.memory().total, total - (100 << 10));
    });
    each(&DeviceOptions { pool_bytes: Some(0), ..all() }, |_, gpu| {
        drop(storage(&gpu, 4096));
        assert_eq!(gpu.memory().total, 0);
    });
}

#[test]
fn a_steady_step_creates_nothing() {
    each(&all(), |_, gpu| {
        let mut affine = Affine::new(&gpu, 777);
        for i in 0..3 {
            affine.check(i as f32, 1.0);
        }
        let (counters, memory) = (gpu.counters(), gpu.memory());
        for i in 0..20 {
            affine.check(2.0, i as f32);
        }
        assert_eq!(gpu.counters(), counters);
        assert_eq!(gpu.memory(), memory);
        let same = ShaderRequest::from_source("test/affine", AFFINE);
        assert!(Arc::ptr_eq(&gpu.pipeline(&same).unwrap(), &affine.pipeline));
        assert_eq!(gpu.counters().pipelines, 1);
    });
}

#[test]
fn a_step_may_outgrow_the_writer_and_encoders_may_be_dropped() {
    each(&all(), |_, gpu| {
        let buffer = storage(&gpu, 10_000);
        let mut writer = StepWriter::new(&gpu, 16);
        for len in [10, 4000, 10_000] {
            let bytes = pattern(len);
            // Many writes that continue each other, and encoders that are
            // never submitted, more of them than the ring has buffers.
            for _ in 0..5 {
                writer.write(&buffer, 0, &[0; 8]).unwrap();
                let mut dropped = gpu.encoder("dropped");
                gpu.block_on(writer.record(&mut dropped)).unwrap();
            }
            for (i, part) in bytes[..len / 4 * 4].chunks(100).enumerate() {
                writer.write(&buffer, 100 * i as u64, part).unwrap();
            }
            let mut encoder = gpu.encoder("kept");
            gpu.block_on(writer.record(&mut encoder)).unwrap();
            gpu.submit("writing", encoder).unwrap();
            let whole = len / 4 * 4;
            assert_eq!(gpu.block_on(gpu.read(&buffer, 0, whole as u64)).unwrap(), bytes[..whole]);
        }
    });
}

#[test]
fn reads_may_be_dropped_polled_by_hand_and_outstanding_together() {
    each(&all(), |_, gpu| {
        let (a, b) = (storage(&gpu, 1000), storage(&gpu, 500));
        gpu.block_on(gpu.upload(&a, 0, &pattern(1000))).unwrap();
        gpu.block_on(gpu.upload(&b, 0, &[7; 500])).unwrap();
        for _ in 0..8 {
            let mut encoder = gpu.encoder("dropped");
            let read = gpu.record_read(&mut encoder, &[(&a, 0, 1000)]).unwrap();
            let submission = gpu.submit("reading", encoder).unwrap();
            let mut future = pin!(read.bytes(submission));
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let begin = || {
            let mut encoder = gpu.encoder("together");
            let parts = [(&a, 4, 9), (&b, 0, 0), (&b, 496, 4)];
            let read = gpu.record_read(&mut encoder, &parts).unwrap();
            let submission = gpu.submit("reading", encoder).unwrap();
            (read, submission)
        };
        let (first, second, third) = (begin(), begin(), begin());
        let expected = vec![pattern(13)[4..].to_vec(), vec![], vec![7; 4]];
        // The last one first, the first one by hand, the second by `wait`.
        assert_eq!(gpu.block_on(third.0.bytes(third.1)).unwrap(), expected);
        let mut future = pin!(first.0.bytes(first.1));
        let mut context = Context::from_waker(Waker::noop());
        let got = loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(parts) => break parts.unwrap(),
                Poll::Pending => std::thread::yield_now(),
            }
        };
        assert_eq!(got, expected);
        gpu.block_on(gpu.wait("waiting", second.1.clone())).unwrap();
        assert_eq!(gpu.block_on(second.0.bytes(second.1)).unwrap(), expected);
        // A read whose encoder is thrown away fails instead of hanging.
        let mut encoder = gpu.encoder("lost");
        let read = gpu.record_read(&mut encoder, &[(&a, 0, 4)]).unwrap();
        drop(encoder);
        let submission = gpu.submit("nothing", gpu.encoder("empty")).unwrap();
        assert_eq!(kind(gpu.block_on(read.bytes(submission))), ErrorKind::Device);
    });
}

#[test]
fn block_on_also_waits_for_other_threads() {
    each(&all(), |_, gpu| {
        let (send, receive) = futures_intrusive::channel::shared::oneshot_channel();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            send.send(42).unwrap();
        });
        assert_eq!(gpu.block_on(receive.receive()), Some(42));
        thread.join().unwrap();
    });
}
