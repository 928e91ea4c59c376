//! A run that measures each dispatch.

use super::run::{Sized, copy_inputs, cut, encode, sized, write_inputs};
use super::{Given, GpuEngine, Kept};
use crate::error::{Error, Result};
use crate::exec::profile::{TimeSource, Timing};
use crate::gpu::Purpose;
use crate::graph::Bindings;
use web_time::Instant;

/// Dispatches measured in one submission: two queries each, within the 4096
/// queries that WebGPU allows in a set.
const MOST_QUERIED: usize = 1024;

/// Bytes of a timestamp.
const STAMP: u64 = 8;

/// Results by name, where the times come from, and the times.
type Measured = (Vec<(String, Kept)>, TimeSource, Vec<Timing>);

/// What a dispatch took: its start and its length in microseconds.
type Span = (f64, f64);

impl GpuEngine {
    /// As `run`, with the time of each dispatch.
    pub(crate) async fn profile(
        &mut self,
        index: usize,
        inputs: &[Given<'_>],
        bindings: &Bindings,
    ) -> Result<Measured> {
        const DOING: &str = "profiling a plan";
        self.gpu.tick();
        self.gpu.check(DOING)?;
        let bound = self.bound(index, inputs).await?;
        let most = self.gpu.caps().limits.max_compute_workgroups_per_dimension;
        self.writer.limit(self.staging());
        self.crossed.0 += write_inputs(&mut self.writer, &self.graph, &bound, inputs)?;
        bound.params.write(&mut self.writer, bindings)?;
        let mut encoder = self.gpu.encoder("profile");
        self.arena.evict(&self.gpu, &mut encoder, &bound, inputs)?;
        self.writer.record(&mut encoder).await?;
        copy_inputs(&mut encoder, &bound, inputs);
        if let (Some(status), false) = (&self.status, bound.faults.is_empty()) {
            encoder.clear_buffer(status.raw(), 0, None);
        }
        let submission = self.gpu.submit(DOING, encoder)?;
        self.gpu.wait(DOING, submission).await?;
        bound.params.are_for(bindings);
        let sized = sized(&bound, bindings, most)?;
        let source =
            if self.gpu.caps().timestamps { TimeSource::Timestamps } else { TimeSource::Waits };
        let mut spans = Vec::with_capacity(sized.len());
        for part in cut(&sized, self.pace.budget()) {
            for part in part.chunks(MOST_QUERIED) {
                spans.extend(match source {
                    TimeSource::Timestamps => self.stamped(part).await?,
                    _ => self.waited(part).await?,
                });
            }
        }
        let first = spans.first().map_or(0.0, |(start, _)| *start);
        let timings = sized.iter().zip(&spans).map(|(sized, (start, micros))| Timing {
            node: sized.step.node.clone(),
            op: sized.step.op.clone(),
            kernel: sized.step.variant.clone(),
            start_us: start - first,
            micros: *micros,
        });
        let timings = timings.collect();
        let count = sized.len() as u64;
        let encoder = self.gpu.encoder("profile");
        let (results, _) = self
            .read_outputs((index, &bound), (Vec::new(), encoder), inputs, bindings, &[])
            .await?;
        self.dispatches += count;
        Ok((results, source, timings))
    }

    /// Each dispatch in a pass of its own, between two timestamps.
    async fn stamped(&self, part: &[Sized<'_>]) -> Result<Vec<Span>> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let queries = 2 * part.len() as u32;
        let set = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: queries,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let bytes = u64::from(queries) * STAMP;
        let stamps = self.gpu.alloc(Purpose::Scratch, bytes, usage, "timestamps")?;
        let mut encoder = self.gpu.encoder("profile");
        for (i, sized) in part.iter().enumerate() {
            let at = 2 * i as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(at),
                    end_of_pass_write_index: Some(at + 1),
                }),
            });
            sized.encode(&mut pass);
        }
        encoder.resolve_query_set(&set, 0..queries, stamps.raw(), 0);
        let read = self.gpu.record_read(&mut encoder, &[(&stamps, 0, bytes)])?;
        let submission = self.gpu.submit("profiling a plan", encoder)?;
        let read = read.bytes(submission).await?;
        let period = f64::from(self.gpu.queue.get_timestamp_period()) / 1e3;
        let words = read.first().map(|bytes| bytes.as_chunks::<8>().0).unwrap_or_default();
        let ticks: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        if ticks.len() != queries as usize {
            return Err(Error::internal("timestamps are missing"));
        }
        let span = |pair: &[u64; 2]| {
            (pair[0] as f64 * period, pair[1].saturating_sub(pair[0]) as f64 * period)
        };
        Ok(ticks.as_chunks::<2>().0.iter().map(span).collect())
    }

    /// Each dispatch in a submission of its own, on the host's clock.
    async fn waited(&self, part: &[Sized<'_>]) -> Result<Vec<Span>> {
        let begun = Instant::now();
        let mut spans = Vec::with_capacity(part.len());
        for one in part {
            let start = begun.elapsed().as_secs_f64() * 1e6;
            let mut encoder = self.gpu.encoder("profile");
            encode(&mut encoder, std::slice::from_ref(one));
            let submission = self.gpu.submit("profiling a plan", encoder)?;
            self.gpu.wait("profiling a plan", submission).await?;
            spans.push((start, begun.elapsed().as_secs_f64() * 1e6 - start));
        }
        Ok(spans)
    }
}
