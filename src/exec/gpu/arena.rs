//! Working memory: the buffers that plans have their computed values in.

use super::compile::Bound;
use super::kept::{DeviceTensor, Given, Tenant};
use crate::error::Result;
use crate::gpu::errors::lock;
use crate::gpu::{Buffer, Gpu, Purpose, StepRing};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

/// Working memory on devices that sessions share, since they run one after
/// another: as much as the largest of their plans takes, inputs included.
///
/// Where a plan needs larger buffers than there are, it gets new ones in their
/// place; plans that had the old ones are bound anew when they run next. Results
/// that stay on the device keep the buffers they were computed in, and move when
/// a plan that runs next is going to write there.
#[derive(Debug, Clone, Default)]
pub struct SharedMemory(Arc<Mutex<HashMap<usize, Arc<Mutex<Buffers>>>>>);

/// A plan's buffers and bind groups, while it has any.
pub(super) type Place = Arc<Mutex<Option<Arc<Bound>>>>;

#[derive(Debug, Default)]
struct Buffers {
    all: Vec<Buffer>,
    /// Staging of sessions that share it, once there are any.
    ring: Option<StepRing>,
    users: Vec<Weak<Mutex<Option<Arc<Bound>>>>>,
    tenants: Vec<Weak<Tenant>>,
}

/// The working memory of a session.
#[derive(Debug)]
pub(super) struct Arena {
    buffers: Arc<Mutex<Buffers>>,
    /// Whether other sessions use it, and it is to be no larger than it must.
    pub(super) shared: bool,
}

impl Arena {
    pub(super) fn new(gpu: &Arc<Gpu>, shared: Option<&SharedMemory>) -> Self {
        let Some(SharedMemory(devices)) = shared else {
            return Arena { buffers: Arc::default(), shared: false };
        };
        let device = Arc::as_ptr(gpu) as usize;
        let buffers = lock(devices).entry(device).or_default().clone();
        Arena { buffers, shared: true }
    }

    /// The staging buffers that sessions share, where they do.
    pub(super) fn staging(&self) -> Option<StepRing> {
        let ring = || StepRing::new(super::STEP_BYTES);
        self.shared.then(|| lock(&self.buffers).ring.get_or_insert_with(ring).clone())
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.buffers).all.iter().map(Buffer::size).sum()
    }

    /// One buffer for each size: those there are where they are large enough, new
    /// ones otherwise. In shared memory a new one takes the place of the largest
    /// that is too small.
    pub(super) fn take(&self, gpu: &Gpu, sizes: &[u64]) -> Result<Vec<Buffer>> {
        let buffers = &mut *lock(&self.buffers);
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&slot| Reverse(sizes[slot]));
        let lent: Vec<Buffer> = buffers.tenants().map(|tenant| tenant.buffer()).collect();
        let is_free = |buffer: &&Buffer| !lent.iter().any(|other| other.same(buffer));
        let mut free: Vec<Buffer> = buffers.all.iter().filter(is_free).cloned().collect();
        let mut chosen: Vec<Option<Buffer>> = vec![None; sizes.len()];
        for slot in order {
            let fitting = free.iter().enumerate().filter(|(_, b)| b.len() >= sizes[slot]);
            if let Some((i, _)) = fitting.min_by_key(|(_, buffer)| buffer.size()) {
                chosen[slot] = Some(free.swap_remove(i));
                continue;
            }
            let largest = free.iter().enumerate().max_by_key(|(_, buffer)| buffer.size());
            if let Some((i, _)) = largest.filter(|_| self.shared) {
                buffers.give_up(free.swap_remove(i));
                gpu.trim();
            }
            let usage = Purpose::Activations.usage();
            let new = gpu.alloc(Purpose::Activations, sizes[slot], usage, "slot")?;
            buffers.all.push(new.clone());
            chosen[slot] = Some(new);
        }
        Ok(chosen.into_iter().flatten().collect())
    }

    /// Notes whose buffers go when others take their place.
    pub(super) fn register(&self, place: &Place) {
        let users = &mut lock(&self.buffers).users;
        users.retain(|user| user.strong_count() > 0);
        users.push(Arc::downgrade(place));
    }
}

impl Arena {
    /// Notes a tensor that stays in one of the buffers.
    pub(super) fn lend(&self, tensor: &DeviceTensor) {
        let tenants = &mut lock(&self.buffers).tenants;
        tenants.retain(|tenant| tenant.strong_count() > 0);
        tenants.push(Arc::downgrade(tensor.tenant()));
    }

    /// Records the moves of tensors that are where a plan is going to write: to the
    /// plan's own place for them where they are its inputs, to new buffers else.
    pub(super) fn evict(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        bound: &Bound,
        inputs: &[Given<'_>],
    ) -> Result<()> {
        let tenants: Vec<Arc<Tenant>> = lock(&self.buffers).tenants().collect();
        let place_of = |tenant: &Arc<Tenant>| {
            let is = |given: &Given<'_>| matches!(given, Given::Device(tensor) if Arc::ptr_eq(tensor.tenant(), tenant));
            let own = bound.inputs.iter().map(|place| (!place.packed).then_some(&place.buffer));
            inputs.iter().zip(own).find(|(given, _)| is(given)).and_then(|(_, place)| place)
        };
        let lent = |buffer: &Buffer| tenants.iter().any(|tenant| tenant.buffer().same(buffer));
        for tenant in &tenants {
            let (own, place) = (tenant.buffer(), place_of(tenant));
            if !bound.uses(&own) || place.is_some_and(|place| place.same(&own)) {
                continue;
            }
            let to = match place.filter(|place| !lent(place)) {
                Some(place) => place.clone(),
                None => {
                    let usage = Purpose::Activations.usage();
                    gpu.alloc(Purpose::Activations, tenant.bytes(), usage, "kept")?
                }
            };
            tenant.move_to(encoder, to);
        }
        Ok(())
    }
}

impl Buffers {
    /// The tensors that are in use.
    fn tenants(&self) -> impl Iterator<Item = Arc<Tenant>> {
        self.tenants.iter().filter_map(Weak::upgrade)
    }

    /// Drops a buffer, and what plans have bound to it.
    fn give_up(&mut self, buffer: Buffer) {
        self.all.retain(|other| !other.same(&buffer));
        for user in self.users.iter().filter_map(Weak::upgrade) {
            let mut place = lock(&user);
            if place.as_ref().is_some_and(|bound| bound.uses(&buffer)) {
                *place = None;
            }
        }
    }
}
