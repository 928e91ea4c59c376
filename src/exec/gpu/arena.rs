//! Working memory: the buffers that plans have their computed values in.

use super::compile::{Bound, InputPlace};
use super::kept::{DeviceTensor, Given, Tenant};
use crate::error::Result;
use crate::gpu::errors::lock;
use crate::gpu::{Buffer, Gpu, Purpose, SIZE_STEP, StepRing};
use crate::plan::Plan;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};

/// Working memory on devices that sessions share, since they run one after
/// another: as much as the largest of their plans takes, inputs included, and what
/// stays there beside it.
///
/// Where a plan needs other buffers than there are, it gets new ones, and those that
/// are not in use go as far as there would else be more than was ever needed at one
/// time; plans that had them are bound anew when they run next. Results that stay on
/// the device keep the buffers they were computed in. They move when a plan that runs
/// next is going to write there, and out of much larger buffers when those are needed.
#[derive(Debug, Clone, Default)]
pub struct SharedMemory(Arc<Mutex<HashMap<usize, Arc<Mutex<Buffers>>>>>);

/// The share of what was needed, and of the weights, that working memory may have above
/// that: plans which come again find their buffers. And the bytes that are few.
const SHARE: u64 = 40;
const LITTLE: u64 = 4 << 10;

/// Bytes of buffers of these sizes.
fn padded(sizes: &[u64]) -> u64 {
    sizes.iter().map(|size| size.max(&1).next_multiple_of(SIZE_STEP)).sum()
}

/// Whether a buffer has little more than so many bytes.
fn is_snug(buffer: &Buffer, bytes: u64) -> bool {
    buffer.size() <= padded(&[bytes]) + bytes / 20 + LITTLE
}

/// Whether an input is this tensor.
fn is_of(given: &Given<'_>, tenant: &Arc<Tenant>) -> bool {
    given.on_device().is_some_and(|tensor| Arc::ptr_eq(tensor.tenant(), tenant))
}

/// A plan's buffers and bind groups, while it has any.
pub(super) type Place = Arc<Mutex<Option<Arc<Bound>>>>;

#[derive(Debug, Default)]
struct Buffers {
    all: Vec<Buffer>,
    /// The most bytes that a plan and what stays beside it have needed.
    needed: u64,
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
    /// ones otherwise. In shared memory those that are free go if there is no room for
    /// new ones beside them, and then those that are larger than they must be.
    pub(super) fn take(&self, gpu: &Gpu, sizes: &[u64]) -> Result<Vec<Buffer>> {
        let buffers = &mut *lock(&self.buffers);
        buffers.needed = buffers.needed.max(padded(sizes) + buffers.kept());
        let (mut chosen, free) = buffers.chosen(sizes);
        let missing = |chosen: &[Option<Buffer>]| {
            let missing = sizes.iter().zip(chosen).filter(|(_, buffer)| buffer.is_none());
            padded(&missing.map(|(&size, _)| size).collect::<Vec<_>>())
        };
        let more = missing(&chosen);
        if self.shared && more > 0 {
            let mut over = buffers.make_room(gpu, free, more);
            let waste = |slot: usize, chosen: &[Option<Buffer>]| {
                chosen[slot].as_ref().map_or(0, |b| b.size().saturating_sub(padded(&[sizes[slot]])))
            };
            while over > 0 {
                let worst = (0..sizes.len()).max_by_key(|&slot| waste(slot, &chosen));
                let Some(slot) = worst.filter(|&slot| waste(slot, &chosen) > 0) else { break };
                over = over.saturating_sub(waste(slot, &chosen));
                chosen[slot].take().into_iter().for_each(|buffer| buffers.give_up(buffer));
                gpu.trim();
            }
        }
        let all = sizes.iter().zip(chosen).map(|(&size, chosen)| match chosen {
            Some(buffer) => Ok(buffer),
            None => buffers.add(gpu, size, "slot"),
        });
        all.collect()
    }

    /// Moves what stays here out of buffers that are much larger, unless buffers of
    /// these sizes are free in any case. One after another, the smallest first: what
    /// one leaves can go before the next has a new place.
    pub(super) async fn compact(&self, gpu: &Arc<Gpu>, sizes: &[u64]) -> Result<()> {
        loop {
            let mut encoder = gpu.encoder("compact");
            if !lock(&self.buffers).move_one(gpu, sizes, &mut encoder)? {
                return Ok(());
            }
            let submission = gpu.submit("moving what is kept", encoder)?;
            gpu.wait("moving what is kept", submission).await?;
        }
    }

    /// The most bytes alive at one time while a plan runs: its own, its inputs until they
    /// are read last, and what stays here for later runs. Of several tensors in one
    /// buffer one counts, of the plan's inputs if there is one.
    pub(super) fn live(&self, plan: &Plan, inputs: &[Given<'_>]) -> u64 {
        let (mut given, mut elsewhere) = (vec![0; inputs.len()], 0u64);
        let place =
            |tenant: Arc<Tenant>| (inputs.iter().position(|given| is_of(given, &tenant)), tenant);
        let mut tenants: Vec<_> = lock(&self.buffers).tenants().map(place).collect();
        tenants.sort_by_key(|(number, _)| number.is_none());
        let mut counted = HashSet::new();
        for (number, tenant) in tenants {
            match number {
                _ if !counted.insert(tenant.buffer().address()) => {}
                Some(number) => given[number] = tenant.bytes(),
                None => elsewhere = elsewhere.saturating_add(tenant.bytes()),
            }
        }
        plan.live_with(&given).saturating_add(elsewhere)
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
        // A place among computed values is the tensor's if nobody reads it later.
        let place_of = |tenant: &Arc<Tenant>| {
            let own = |(given, place): (&Given<'_>, &InputPlace)| {
                let free = !place.packed || (matches!(given, Given::Last(_)) && place.offset == 0);
                (free && is_of(given, tenant)).then(|| place.buffer.clone())
            };
            inputs.iter().zip(&bound.inputs).find_map(own)
        };
        let lent = |buffer: &Buffer| tenants.iter().any(|tenant| tenant.buffer().same(buffer));
        for tenant in &tenants {
            let (own, place) = (tenant.buffer(), place_of(tenant));
            if !bound.uses(&own) || place.as_ref().is_some_and(|place| place.same(&own)) {
                continue;
            }
            let to = match place.filter(|place| !lent(place)) {
                Some(place) => place,
                None => {
                    let taken = |buffer: &Buffer| bound.uses(buffer);
                    lock(&self.buffers).snug(gpu, tenant.bytes(), &taken)?
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

    /// The buffers that those are in, and the bytes that they have there.
    fn lent(&self) -> Vec<(Buffer, u64)> {
        let mut lent: Vec<(Buffer, u64)> = Vec::new();
        for tenant in self.tenants() {
            let buffer = tenant.buffer();
            match lent.iter_mut().find(|(other, _)| other.same(&buffer)) {
                Some((_, bytes)) => *bytes = tenant.bytes().max(*bytes),
                None => lent.push((buffer, tenant.bytes())),
            }
        }
        lent
    }

    /// The bytes of what stays here.
    fn kept(&self) -> u64 {
        self.lent().into_iter().map(|(_, bytes)| padded(&[bytes])).sum()
    }

    /// The buffers that nothing stays in.
    fn free(&self) -> Vec<Buffer> {
        let lent = self.lent();
        let is_free = |buffer: &&Buffer| !lent.iter().any(|(other, _)| other.same(buffer));
        self.all.iter().filter(is_free).cloned().collect()
    }

    /// The smallest free buffer for each size that has one, and the free ones that are
    /// left.
    fn chosen(&self, sizes: &[u64]) -> (Vec<Option<Buffer>>, Vec<Buffer>) {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&slot| Reverse(sizes[slot]));
        let mut free = self.free();
        let mut chosen = vec![None; sizes.len()];
        for slot in order {
            let fitting = free.iter().enumerate().filter(|(_, b)| b.len() >= sizes[slot]);
            let smallest = fitting.min_by_key(|(_, buffer)| buffer.size());
            chosen[slot] = smallest.map(|(at, _)| at).map(|at| free.swap_remove(at));
        }
        (chosen, free)
    }

    /// Records the move of the smallest tensor that is in a much larger buffer, if there
    /// is one and buffers of these sizes are not free. All that are in that buffer move.
    fn move_one(
        &mut self,
        gpu: &Gpu,
        sizes: &[u64],
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<bool> {
        if self.chosen(sizes).0.iter().all(Option::is_some) {
            return Ok(false);
        }
        self.needed = self.needed.max(padded(sizes) + self.kept());
        let loose = self.lent().into_iter().filter(|(buffer, bytes)| !is_snug(buffer, *bytes));
        let Some((old, bytes)) = loose.min_by_key(|(_, bytes)| *bytes) else { return Ok(false) };
        let tenants: Vec<Arc<Tenant>> = self.tenants().collect();
        let new = self.snug(gpu, bytes, &|_| false)?;
        for tenant in tenants.into_iter().filter(|tenant| tenant.buffer().same(&old)) {
            tenant.move_to(encoder, new.clone());
        }
        Ok(true)
    }

    /// A buffer for a tensor that stays, of its size. A plan that runs next has taken
    /// some of those that are free.
    fn snug(&mut self, gpu: &Gpu, bytes: u64, taken: &dyn Fn(&Buffer) -> bool) -> Result<Buffer> {
        let mut free = self.free();
        free.retain(|buffer| !taken(buffer));
        let fitting = free.iter().filter(|b| b.len() >= bytes && is_snug(b, bytes));
        if let Some(buffer) = fitting.min_by_key(|buffer| buffer.size()) {
            return Ok(buffer.clone());
        }
        let bytes = padded(&[bytes]);
        self.make_room(gpu, free, bytes);
        self.add(gpu, bytes, "kept")
    }

    /// Gives up free buffers until so many more bytes are not too many: by how many
    /// they are if all are gone.
    fn make_room(&mut self, gpu: &Gpu, mut free: Vec<Buffer>, more: u64) -> u64 {
        let weights = gpu.memory().current(Purpose::Weights);
        let most = self.needed + (self.needed + weights) / SHARE + LITTLE;
        let all: u64 = self.all.iter().map(Buffer::size).sum();
        let mut over = (all + more).saturating_sub(most);
        free.sort_by_key(Buffer::size);
        while over > 0 && !free.is_empty() {
            let enough = free.partition_point(|buffer| buffer.size() < over);
            let buffer = free.remove(enough.min(free.len() - 1));
            over = over.saturating_sub(buffer.size());
            self.give_up(buffer);
            gpu.trim();
        }
        over
    }

    fn add(&mut self, gpu: &Gpu, bytes: u64, label: &str) -> Result<Buffer> {
        let usage = Purpose::Activations.usage();
        let new = gpu.alloc(Purpose::Activations, bytes, usage, label)?;
        self.all.push(new.clone());
        Ok(new)
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
