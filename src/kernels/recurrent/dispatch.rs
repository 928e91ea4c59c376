//! The dispatches of a recurrent network.

use super::{FAMILY, LOOP_HIDDEN, ROWS, Shaders, VARIANTS, workgroup};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::kernels::parts::{fits_u32, too_large};
use crate::kernels::{Dispatch, GpuCx, Grid, Param, Place, Variant, View};
use crate::ops::recurrent::{Cell, Recurrent};

/// Scratch memory: the state, the recurrent weights as the loops read them, and
/// the products of the state with them.
const STATE: Place = Place::Scratch(0);
const TURNED: Place = Place::Scratch(1);
const SUMS: Place = Place::Scratch(2);

/// Steps from which on a GPU loops are worth what they take.
const LONG: u64 = 8;

/// The sizes of a call.
struct Sizes {
    steps: Dim,
    batch: Dim,
    directions: u64,
    hidden: u64,
    /// Gates times hidden.
    width: u64,
    /// The bounds of steps and batch.
    most: [u64; 2],
    /// Bytes that a binding may have and that its offset is a multiple of.
    limit: u64,
    align: u64,
}

impl Sizes {
    fn of(op: &Recurrent, cx: &GpuCx<'_>) -> Result<Self> {
        let [steps, directions, batch, hidden] = &cx.output(0)?.shape[..] else {
            return Err(Error::internal("hidden states of other than rank 4"));
        };
        let fixed = |dim: &Dim| {
            dim.as_const().ok_or_else(|| Error::internal(format!("{dim} must be a number")))
        };
        let hidden = fixed(hidden)?;
        let sizes = Sizes {
            steps: steps.clone(),
            batch: batch.clone(),
            directions: fixed(directions)?,
            hidden,
            width: op.cell.gates() as u64 * hidden,
            most: [cx.bound(steps)?, cx.bound(batch)?],
            limit: cx.caps.max_binding(),
            align: u64::from(cx.caps.storage_alignment()),
        };
        fits_u32(cx, "gates of a recurrent network", &sizes.gates())?;
        let state = sizes.state_bytes(sizes.regions(op));
        if state > sizes.limit {
            return Err(too_large("the state of a recurrent network", state, sizes.limit));
        }
        Ok(sizes)
    }

    /// Elements of the gates' products.
    fn gates(&self) -> Dim {
        &self.steps * &self.batch * (self.directions * self.width)
    }

    /// Elements of a region of the state.
    fn region(&self) -> Dim {
        &self.batch * (self.directions * self.hidden)
    }

    fn state_bytes(&self, regions: u64) -> u64 {
        regions * self.directions * self.most[1] * self.hidden * 4
    }

    /// Regions of the state.
    fn regions(&self, op: &Recurrent) -> u64 {
        match op.cell {
            Cell::Rnn | Cell::Gru { linear_before_reset: true } => 1,
            Cell::Lstm { .. } => 2,
            Cell::Gru { linear_before_reset: false } => 3,
        }
    }

    /// Bytes of one position: gates of one direction, results of all.
    fn position_bytes(&self) -> [u64; 2] {
        let row = self.most[1] * 4;
        [row * self.width, row * self.directions * self.hidden]
    }

    /// A part of an operand from an element on, and how many elements before it
    /// are bound as well: offsets are aligned.
    fn window(&self, place: Place, first: u64, count: u64) -> (View, u64) {
        let offset = first * 4 / self.align * self.align;
        (View::range(place, offset, (first + count) * 4 - offset), offset / 4)
    }
}

/// Steps and directions that a dispatch takes, and what it has bound of gates
/// and results.
struct Part {
    steps: std::ops::Range<u64>,
    direction: u64,
    directions: u64,
    gates: (View, u64),
    y: (View, u64),
}

pub(super) fn all(op: &Recurrent, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
    let sizes = Sizes::of(op, cx)?;
    let variant = variant(op, cx, &sizes)?;
    let given = [2, 3, 4, 5, 6].map(|i| cx.inputs.get(i).is_some_and(Option::is_some));
    let shaders = Shaders { op, variant, hidden: sizes.hidden, given };
    let call = Call { op, sizes, shaders, variant };
    let mut dispatches = vec![call.begin()?];
    if variant.shader == "recurrent/loop" {
        dispatches.push(call.turn()?);
        let longest = longest_loop(op, cx, &call.sizes, variant);
        for part in call.parts(longest)? {
            dispatches.push(call.cells(&part, false)?);
        }
    } else {
        for group in call.by_step()? {
            call.step(&group, &mut dispatches)?;
        }
    }
    dispatches.push(call.end()?);
    Ok(dispatches)
}

/// Loop iterations of one step in a loop.
fn step_loops(op: &Recurrent, sizes: &Sizes, variant: &Variant) -> u64 {
    let units = sizes.hidden.div_ceil(u64::from(variant.needs.invocations));
    let halves = if op.cell == (Cell::Gru { linear_before_reset: false }) { 2 } else { 1 };
    halves * units * (sizes.hidden + 1) + 2 * units + 1
}

/// The most steps of one dispatch: what the driver lets an invocation do, and no
/// more than keeps a device responsive.
fn longest_loop(op: &Recurrent, cx: &GpuCx<'_>, sizes: &Sizes, variant: &Variant) -> u64 {
    let own = step_loops(op, sizes, variant);
    // Loading and storing the state come to one more step.
    let most = cx.caps.loop_iterations.map_or(1024, |most| most.saturating_sub(1) / own);
    most.saturating_sub(1).clamp(1, 1024)
}

fn variant(op: &Recurrent, cx: &GpuCx<'_>, sizes: &Sizes) -> Result<&'static Variant> {
    let software = cx.caps.is_software();
    let forced = cx.policy.force.contains_key(FAMILY);
    let weights = sizes.directions * sizes.width * sizes.hidden * 4;
    let can = |variant: &Variant| match variant.name {
        "loop" | "loop_wide" => {
            sizes.hidden <= LOOP_HIDDEN
                && weights <= sizes.limit
                && cx.caps.loops_fit(2 * step_loops(op, sizes, variant))
        }
        "step" => cx.caps.loops_fit(sizes.hidden.div_ceil(64) * (u64::from(ROWS) * 5 + 5) + 200),
        _ => cx.caps.loops_fit(sizes.hidden.div_ceil(4) + 4),
    };
    // The loops have a second copy of the weights, and steps by themselves have
    // parameters of their own: two dispatches each, on the device and twice on the way.
    let align = u64::from(cx.caps.limits.min_uniform_buffer_offset_alignment);
    let stepping = sizes.most[0].saturating_mul(2 * 3 * align);
    let worth = weights <= cx.room.max(stepping) || (!software && sizes.most[0] >= LONG);
    let suits = |variant: &Variant| match variant.name {
        "loop" => forced || (worth && sizes.hidden <= if software { 128 } else { 64 }),
        "loop_wide" => forced || (worth && !software && sizes.hidden > 64),
        "step" => forced || !software,
        _ => forced || software,
    };
    cx.choose(FAMILY, VARIANTS, |variant| can(variant) && suits(variant))
        .or_else(|_| cx.choose(FAMILY, VARIANTS, can))
}

struct Call<'a> {
    op: &'a Recurrent,
    sizes: Sizes,
    shaders: Shaders<'a>,
    variant: &'static Variant,
}

impl Call<'_> {
    fn state(&self) -> View {
        View::range(STATE, 0, self.sizes.state_bytes(self.sizes.regions(self.op)).max(4))
    }

    fn dispatch(
        &self,
        shader: ShaderRequest,
        bindings: Vec<(&'static str, View)>,
        params: Vec<(&'static str, Param)>,
        groups: Dim,
        work: Dim,
    ) -> Dispatch {
        let variant = format!("{FAMILY}/{}", self.variant.name);
        Dispatch { shader, variant, bindings, params, grid: Grid::Linear(groups), work }
    }

    /// A dispatch with an invocation for each of `count` elements.
    fn flat(
        &self,
        shader: ShaderRequest,
        bindings: Vec<(&'static str, View)>,
        count: Dim,
    ) -> Result<Dispatch> {
        let groups = count.ceil_div(workgroup(self.variant)?);
        let params = vec![("count", Param::from(&count))];
        Ok(self.dispatch(shader, bindings, params, groups, count))
    }

    fn begin(&self) -> Result<Dispatch> {
        let lstm = matches!(self.op.cell, Cell::Lstm { .. });
        let given = [self.shaders.given[2], self.shaders.given[3] && lstm];
        let mut bindings = vec![("state", self.state())];
        for (name, index, on) in [("initial_h", 4, given[0]), ("initial_c", 5, given[1])] {
            if on {
                bindings.push((name, View::all(Place::Input(index))));
            }
        }
        self.flat(self.shaders.begin(given), bindings, self.sizes.region())
    }

    fn end(&self) -> Result<Dispatch> {
        let mut bindings = vec![("state", self.state()), ("y_h", View::all(Place::Output(1)))];
        if matches!(self.op.cell, Cell::Lstm { .. }) {
            bindings.push(("y_c", View::all(Place::Output(2))));
        }
        self.flat(self.shaders.end(), bindings, self.sizes.region())
    }

    fn turn(&self) -> Result<Dispatch> {
        let count = self.sizes.directions * self.sizes.width * self.sizes.hidden;
        let bindings =
            vec![("r", View::all(Place::Input(1))), ("turned", View::range(TURNED, 0, count * 4))];
        self.flat(self.shaders.turn(), bindings, count.into())
    }

    /// The parts that cover all steps, at most so many each, in the order in
    /// which they must run.
    fn parts(&self, longest: u64) -> Result<Vec<Part>> {
        let sizes = &self.sizes;
        let [steps, batch] = sizes.most;
        let all = |per: [u64; 2]| [sizes.directions * steps * per[0], steps * per[1]];
        let per = sizes.position_bytes();
        let whole = all(per).iter().all(|&bytes| bytes <= sizes.limit);
        if whole {
            let part = |first: u64| Part {
                steps: first..steps.min(first + longest),
                direction: 0,
                directions: sizes.directions,
                gates: (View::all(Place::Input(0)), 0),
                y: (View::all(Place::Output(0)), 0),
            };
            return Ok((0..steps).step_by(longest.max(1) as usize).map(part).collect());
        }
        let room = sizes.limit.saturating_sub(sizes.align);
        let most = per.iter().map(|&bytes| room / bytes.max(1)).min().unwrap_or(0).min(longest);
        let what = "the gates of one step of a recurrent network";
        let [Some(_), Some(_)] = [sizes.steps.as_const(), sizes.batch.as_const()] else {
            let needed = all(per).into_iter().max().unwrap_or(0);
            return Err(too_large("gates of varying number", needed, sizes.limit));
        };
        if most == 0 {
            return Err(too_large(what, per[0].max(per[1]), sizes.limit));
        }
        let mut parts = Vec::new();
        for first in (0..steps).step_by(most as usize) {
            let range = first..steps.min(first + most);
            for d in 0..sizes.directions {
                let backward = d as usize >= self.op.direction.backward();
                let start = if backward { steps - range.end } else { range.start };
                let count = range.end - range.start;
                let rows = [d * steps + start, start * sizes.directions]
                    .map(|positions| positions * batch);
                let gates = sizes.window(
                    Place::Input(0),
                    rows[0] * sizes.width,
                    count * batch * sizes.width,
                );
                let y = sizes.window(
                    Place::Output(0),
                    rows[1] * sizes.hidden,
                    count * batch * sizes.directions * sizes.hidden,
                );
                let steps = range.clone();
                parts.push(Part { steps, direction: d, directions: 1, gates, y });
            }
        }
        Ok(parts)
    }

    /// For each step the parts it is made of.
    fn by_step(&self) -> Result<Vec<Vec<Part>>> {
        let mut steps: Vec<Vec<Part>> = Vec::new();
        for part in self.parts(1)? {
            match steps.last_mut() {
                Some(group) if group[0].steps == part.steps => group.push(part),
                _ => steps.push(vec![part]),
            }
        }
        Ok(steps)
    }

    /// The products of the state and the cells of one step.
    fn step(&self, parts: &[Part], dispatches: &mut Vec<Dispatch>) -> Result<()> {
        let (width, hidden) = (self.sizes.width, self.sizes.hidden);
        let mut products = |rows: std::ops::Range<u64>, region: u64| -> Result<()> {
            dispatches.extend(self.products(rows, region)?);
            Ok(())
        };
        if self.op.cell != (Cell::Gru { linear_before_reset: false }) {
            products(0..width, 0)?;
        } else {
            products(0..2 * hidden, 0)?;
            for part in parts {
                dispatches.push(self.cells(part, true)?);
            }
            dispatches.extend(self.products(2 * hidden..width, 2)?);
        }
        for part in parts {
            dispatches.push(self.cells(part, false)?);
        }
        Ok(())
    }

    /// The products of some rows of the weights with a region of the state.
    fn products(&self, rows: std::ops::Range<u64>, region: u64) -> Result<Vec<Dispatch>> {
        let sizes = &self.sizes;
        let sums = sizes.directions * sizes.most[1] * sizes.width * 4;
        if sums > sizes.limit {
            return Err(too_large("the gates of a recurrent network", sums, sizes.limit));
        }
        let all = sizes.directions * sizes.width * sizes.hidden * 4;
        if all <= sizes.limit {
            let weights = (View::all(Place::Input(1)), 0);
            return Ok(vec![self.product(0, sizes.directions, rows, region, weights)]);
        }
        let most = sizes.limit.saturating_sub(sizes.align) / (sizes.hidden * 4);
        if most == 0 {
            let row = sizes.hidden * 4 + sizes.align;
            return Err(too_large("a row of recurrent weights", row, sizes.limit));
        }
        let mut dispatches = Vec::new();
        for d in 0..sizes.directions {
            for first in rows.clone().step_by(most as usize) {
                let part = first..rows.end.min(first + most);
                let start = (d * sizes.width + first) * sizes.hidden;
                let count = (part.end - part.start) * sizes.hidden;
                let weights = sizes.window(Place::Input(1), start, count);
                dispatches.push(self.product(d, 1, part, region, weights));
            }
        }
        Ok(dispatches)
    }

    fn product(
        &self,
        direction: u64,
        directions: u64,
        rows: std::ops::Range<u64>,
        region: u64,
        (weights, first_weight): (View, u64),
    ) -> Dispatch {
        let sizes = &self.sizes;
        let count = rows.end - rows.start;
        let sums = sizes.directions * sizes.most[1] * sizes.width * 4;
        let bindings = vec![
            ("r", weights),
            ("state", self.state()),
            ("sums", View::range(SUMS, 0, sums.max(4))),
        ];
        let number = |value: u64| Param::U32(value as u32);
        let params = vec![
            ("batch", (&sizes.batch).into()),
            ("direction", number(direction)),
            ("directions", number(directions)),
            ("first_row", number(rows.start)),
            ("rows", number(count)),
            ("source", (sizes.region() * region).into()),
            ("first_weight", number(first_weight)),
        ];
        let sequences = sizes.most[1].clamp(1, 4).next_power_of_two();
        let all = &sizes.batch * (directions * count);
        let groups = match self.variant.name {
            "step" => sizes.batch.ceil_div(sequences) * (directions * count.div_ceil(ROWS.into())),
            _ => all.ceil_div(8u64),
        };
        let shader = self.shaders.products(sequences as u32);
        self.dispatch(shader, bindings, params, groups, all * (2 * sizes.hidden))
    }

    /// The cells of a step, or of all steps of a loop.
    fn cells(&self, part: &Part, opening: bool) -> Result<Dispatch> {
        let sizes = &self.sizes;
        let (gates, first_gate) = part.gates.clone();
        let (y, first_y) = part.y.clone();
        let mut bindings = vec![("gates", gates), ("state", self.state()), ("y", y)];
        let [biased, lengths, _, _, peepholes] = self.shaders.given;
        let lstm = matches!(self.op.cell, Cell::Lstm { .. });
        let optional =
            [("bias", 2, biased), ("lengths", 3, lengths), ("peepholes", 6, peepholes && lstm)];
        for (name, index, _) in optional.into_iter().filter(|(_, _, on)| *on) {
            bindings.push((name, View::all(Place::Input(index))));
        }
        let count = part.steps.end - part.steps.start;
        let rows = &sizes.batch * part.directions;
        let number = |value: u64| Param::U32(value as u32);
        let params = vec![
            ("steps", (&sizes.steps).into()),
            ("batch", (&sizes.batch).into()),
            ("directions", number(sizes.directions)),
            ("last", number(sizes.most[0].saturating_sub(1))),
            ("backward", number(self.op.direction.backward() as u64)),
            ("first", number(part.steps.start)),
            ("count", number(count)),
            ("direction", number(part.direction)),
            ("rows", (&rows).into()),
            ("first_gate", number(first_gate)),
            ("first_y", number(first_y)),
        ];
        let shader = self.shaders.cells(opening);
        if self.variant.shader == "recurrent/loop" {
            let turned = sizes.directions * sizes.width * sizes.hidden * 4;
            bindings.push(("turned", View::range(TURNED, 0, turned)));
            let work = &rows * (count * 2 * sizes.width * sizes.hidden);
            return Ok(self.dispatch(shader, bindings, params, rows, work));
        }
        let sums = sizes.directions * sizes.most[1] * sizes.width * 4;
        bindings.push(("sums", View::range(SUMS, 0, sums.max(4))));
        let units = rows * sizes.hidden;
        let groups = units.ceil_div(workgroup(self.variant)?);
        Ok(self.dispatch(
            shader,
            bindings,
            params,
            groups,
            units * (sizes.width / sizes.hidden) * 20u64,
        ))
    }
}
