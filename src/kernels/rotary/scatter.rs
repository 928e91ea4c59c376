//! Queries and keys normalised and turned, keys and values appended to their caches, in
//! one dispatch.

use super::super::parts::{self, Part};
use super::super::state::copies;
use super::super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use super::{FAMILY, VARIANTS, cpu};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::{Dim, TensorType};
use crate::ops::rotary::RotaryScatter;
use crate::ops::rotary::scatter::{
    COS, KEY_NORM, KEYS, NEW_ROWS, POSITIONS, QUERY_NORM, QUERY_ROWS, SIN, VALUES, WRITE, sources,
    there,
};
use crate::tensor::DType;

/// The variants.
pub(super) const PACKED: &str = "scatter_packed";
pub(super) const WHOLE: &str = "scatter";
pub(super) const APART: &str = "scatter_apart";

/// Computes [`RotaryScatter`]. The inputs of caches are absent where these are updated in
/// place; otherwise they are copied first.
#[derive(Debug, Clone, Copy)]
pub struct RotaryScatterKernel {
    /// What to compute.
    pub op: RotaryScatter,
}

/// What one dispatch computes, and the inputs that have it.
#[derive(Debug, Clone, Copy)]
struct Roles {
    queries: bool,
    keys: bool,
    values: bool,
    sources: [usize; 3],
    halves: bool,
    normed: bool,
    gathered: bool,
}

impl Roles {
    /// Whether keys are in rows of their own.
    fn own_keys(&self) -> bool {
        self.keys && (self.sources[1] != 0 || !self.queries)
    }

    fn own_values(&self) -> bool {
        let [_, keys, values] = self.sources;
        let in_keys = self.keys && values == keys;
        let in_queries = self.queries && values == 0;
        self.values && !in_keys && !in_queries
    }

    fn turns(&self) -> bool {
        self.queries || self.keys
    }

    fn appends(&self) -> bool {
        self.keys || self.values
    }

    /// Whether there is nothing but rows that have all of it.
    fn packed(&self) -> bool {
        self.sources == [0; 3] && !self.normed && !self.gathered
    }

    fn request(&self, variant: &Variant) -> ShaderRequest {
        let wanted = [
            (self.queries, "queries"),
            (self.keys, "keys"),
            (self.values, "values"),
            (self.own_keys(), "own_keys"),
            (self.own_values(), "own_values"),
            (self.turns(), "turns"),
            (self.appends(), "appends"),
            (self.appends() && self.halves, "halves"),
            (self.turns() && self.normed, "normed"),
            (self.gathered, "gathered"),
        ];
        let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
        wanted.fold(ShaderRequest::new(variant.shader), ShaderRequest::feature)
    }

    /// What the dispatches of a variant have to do: all, or one thing each.
    fn of_variant(self, variant: &Variant) -> Vec<Roles> {
        let one = |queries, keys, values| Roles { queries, keys, values, ..self };
        match variant.name {
            APART => {
                vec![one(true, false, false), one(false, true, false), one(false, false, true)]
            }
            _ => vec![self],
        }
    }
}

/// The shaders it is instantiated to.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    let either = [false, true];
    for (halves, normed) in either.iter().flat_map(|&h| either.map(|normed| (h, normed))) {
        for (gathered, sources) in either.iter().flat_map(|&g| SOURCES.map(|sources| (g, sources)))
        {
            let (queries, keys, values) = (true, true, true);
            let all = Roles { queries, keys, values, sources, halves, normed, gathered };
            if variant.name == PACKED && !all.packed() {
                continue;
            }
            for roles in all.of_variant(variant) {
                let request = roles.request(variant);
                if !requests.contains(&request) {
                    requests.push(request);
                }
            }
        }
    }
    requests
}

/// The inputs that may have queries, keys and values.
const SOURCES: [[usize; 3]; 4] = [[0, 0, 0], [0, 0, 2], [0, 1, 1], [0, 1, 2]];

/// What is bound of tokens, tables and caches.
struct Bound<'a> {
    tokens: &'a Part,
    rows: &'a Part,
    table: &'a Part,
    windows: [Option<&'a Part>; 2],
    with_queries: bool,
}

/// What all dispatches have in common.
struct Facts {
    roles: Roles,
    /// Bytes of a row of queries, keys and values.
    row: [u64; 3],
    /// How many rows there are, and how many tokens.
    rows: Dim,
    tokens: Dim,
    /// Invocations for a head of queries and keys, and of values.
    lanes: [u64; 2],
    /// The size of a head of queries and keys, and of values.
    width: u64,
    value_width: u64,
    groups: u64,
    /// Bytes of two neighbouring elements of a cache.
    cell: u64,
}

fn fixed(dim: &Dim) -> Result<u64> {
    dim.as_const().ok_or_else(|| Error::internal("heads of no fixed size"))
}

impl Kernel for RotaryScatterKernel {
    fn name(&self) -> &str {
        "rotary.scatter"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let facts = self.facts(cx)?;
        let all = facts.roles;
        let variant = cx.choose(FAMILY, VARIANTS, |variant| match variant.name {
            PACKED => all.packed(),
            name => name == WHOLE || name == APART,
        })?;
        let label = format!("{FAMILY}/{}", variant.name);
        let mut dispatches = Vec::new();
        for (input, output) in [(KEYS, 1), (VALUES, 2)] {
            if cx.inputs.get(input).is_some_and(Option::is_some) {
                dispatches.extend(copies(cx, "cache", [input, output], &label)?);
            }
        }
        for roles in all.of_variant(variant) {
            self.parts(cx, variant, &facts, roles, &mut dispatches)?;
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::scatter(self.op, cx)
    }
}

impl RotaryScatterKernel {
    fn facts(&self, cx: &GpuCx<'_>) -> Result<Facts> {
        let (keys, values) = (cx.output(1)?, cx.output(2)?);
        let sources = sources(cx.inputs);
        let row = |source: usize| fixed(&(Dim::product(&cx.input(source)?.shape[2..]) * 4u64));
        let halves = keys.dtype == DType::F16;
        let (normed, gathered) = (there(cx.inputs, QUERY_NORM), there(cx.inputs, QUERY_ROWS));
        let (width, value_width) = (fixed(&keys.shape[3])?, fixed(&values.shape[3])?);
        // Where heads are summed up, each begins at a fraction of a workgroup.
        let lanes = match normed {
            true => [(width.max(value_width) / 4).next_power_of_two(); 2],
            false => [width / 4, value_width / 4],
        };
        Ok(Facts {
            roles: Roles {
                queries: true,
                keys: true,
                values: true,
                sources,
                halves,
                normed,
                gathered,
            },
            row: [row(sources[0])?, row(sources[1])?, row(sources[2])?],
            rows: Dim::product(&cx.input(0)?.shape[..2]),
            tokens: Dim::product(&cx.output(0)?.shape[..2]),
            lanes,
            width,
            value_width,
            groups: fixed(&keys.shape[1])?,
            cell: if halves { 4 } else { 8 },
        })
    }

    /// Dispatches for all that some roles have to do, a part for each binding.
    fn parts(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        facts: &Facts,
        roles: Roles,
        dispatches: &mut Vec<Dispatch>,
    ) -> Result<()> {
        let result = self.op.heads as u64 * facts.width * 4;
        let dims = |bytes: &[u64]| bytes.iter().map(|&bytes| bytes.into()).collect::<Vec<Dim>>();
        let [queries, keys, values] = facts.row;
        let what = "rows of RotaryScatter";
        // Without gathering a token is its row.
        let (tokens, rows) = if roles.gathered {
            let rows = parts::split(cx, what, &facts.rows, &dims(&[queries, keys, values, 4]))?;
            (parts::split(cx, what, &facts.tokens, &dims(&[result, 4]))?, rows)
        } else {
            let of_token = dims(&[queries, keys, values, result, 4]);
            (parts::split(cx, what, &facts.tokens, &of_token)?, Vec::new())
        };
        let table = cx.input(COS)?;
        let row = Dim::from(self.op.rotary.rotary_dim as u64 * 2);
        let tables = parts::split(cx, "tables of RotaryScatter", &table.shape[0], &[row])?;
        let windows = |cache: &TensorType| {
            let cells = cache.elements().ceil_div(2u64);
            parts::fits_u32(cx, "elements of a cache", &cache.elements())?;
            parts::split(cx, "cache", &cells, &[facts.cell.into()])
        };
        let (keys, values) = (windows(cx.output(1)?)?, windows(cx.output(2)?)?);
        let windows = match (roles.keys, roles.values) {
            (false, false) => 1,
            (true, false) => keys.len(),
            (false, true) => values.len(),
            (true, true) => keys.len().max(values.len()),
        };
        let pairs = tokens.iter().flat_map(|tokens| {
            let rows = if rows.is_empty() { std::slice::from_ref(tokens) } else { &rows[..] };
            rows.iter().map(move |rows| (tokens, rows))
        });
        for (tokens, rows) in pairs {
            for (t, table) in tables.iter().enumerate().filter(|(t, _)| *t == 0 || roles.turns()) {
                for window in 0..windows {
                    // Values know no table, and queries no cache.
                    let values = values.get(window).filter(|_| t == 0);
                    let windows = [keys.get(window), values];
                    let with_queries = window == 0;
                    let bound = Bound { tokens, rows, table, windows, with_queries };
                    dispatches.push(self.dispatch(cx, variant, (facts, roles), &bound)?);
                }
            }
        }
        Ok(())
    }

    fn dispatch(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        (facts, roles): (&Facts, Roles),
        bound: &Bound<'_>,
    ) -> Result<Dispatch> {
        let live = bound.tokens.live(&facts.tokens);
        let units = |on: bool, heads: u64, lanes: u64| if on { heads * lanes } else { 0 };
        let [lanes, value_lanes] = facts.lanes;
        let query_units = units(roles.queries, self.op.heads as u64, lanes);
        let key_units = query_units + units(roles.keys, facts.groups, lanes);
        let token_units = key_units + units(roles.values, facts.groups, value_lanes);
        let units = &live * token_units;
        parts::fits_u32(cx, "invocations of RotaryScatter", &units)?;
        let number = |value: u64| Param::U32(value as u32);
        let window = |number: usize| match bound.windows[number] {
            Some(part) => (Param::U32(part.first as u32), Param::U32(part.count as u32)),
            None => (Param::U32(0), Param::U32(0)),
        };
        let ((key_first, key_cells), (value_first, value_cells)) = (window(0), window(1));
        let [queries, keys, values] = self.op.offsets.map(|offset| number(offset as u64 / 2));
        let [query_row, key_row, value_row] = facts.row.map(|bytes| number(bytes / 8));
        Ok(Dispatch {
            shader: roles.request(variant),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings: self.bindings((facts, roles), bound),
            params: vec![
                ("units", (&units).into()),
                ("token_units", number(token_units)),
                ("query_units", number(query_units)),
                ("key_units", number(key_units)),
                ("lanes", number(lanes)),
                ("value_lanes", number(value_lanes)),
                ("first_token", number(bound.tokens.first)),
                ("tokens", (&cx.output(0)?.shape[1]).into()),
                ("first_row", number(bound.rows.first)),
                ("bound_rows", number(bound.rows.count)),
                ("rows", (&facts.rows).into()),
                ("query_row", query_row),
                ("query_offset", queries),
                ("key_row", key_row),
                ("key_offset", keys),
                ("value_row", value_row),
                ("value_offset", values),
                ("width", number(facts.width / 2)),
                ("value_width", number(facts.value_width / 2)),
                ("turned", number(self.op.rotary.rotary_dim as u64 / 4)),
                ("interleaved", Param::U32(u32::from(self.op.rotary.interleaved))),
                ("heads", number(self.op.heads as u64)),
                ("groups", number(facts.groups)),
                ("capacity", (&cx.output(1)?.shape[2]).into()),
                ("positions_end", (&cx.input(COS)?.shape[0]).into()),
                ("table_first", number(bound.table.first)),
                ("table_rows", number(bound.table.count)),
                ("key_first", key_first),
                ("key_cells", key_cells),
                ("value_first", value_first),
                ("value_cells", value_cells),
                ("with_queries", Param::U32(u32::from(bound.with_queries))),
                ("epsilon", self.op.epsilon.into()),
            ],
            grid: Grid::Linear(units.ceil_div(64u64)),
            work: units * 24u64,
        })
    }

    fn bindings(
        &self,
        (facts, roles): (&Facts, Roles),
        bound: &Bound<'_>,
    ) -> Vec<(&'static str, View)> {
        let [queries, keys, values] = roles.sources;
        let rows = |part: usize, input| bound.rows.view(Place::Input(input), facts.row[part]);
        let result = self.op.heads as u64 * facts.width * 4;
        let mut bindings = Vec::new();
        if roles.queries {
            bindings.push(("queries", rows(0, queries)));
            bindings.push(("result", bound.tokens.view(Place::Output(0), result)));
        }
        if roles.own_keys() {
            bindings.push(("keys", rows(1, keys)));
        }
        if roles.own_values() {
            bindings.push(("values", rows(2, values)));
        }
        if roles.turns() {
            let table = self.op.rotary.rotary_dim as u64 * 2;
            for (name, input) in [("cosines", COS), ("sines", SIN)] {
                bindings.push((name, bound.table.view(Place::Input(input), table)));
            }
            bindings.push(("positions", bound.rows.view(Place::Input(POSITIONS), 4)));
        }
        let more = [
            (roles.normed && roles.queries, "query_norm", View::all(Place::Input(QUERY_NORM))),
            (roles.normed && roles.keys, "key_norm", View::all(Place::Input(KEY_NORM))),
            (
                roles.gathered && roles.queries,
                "query_rows",
                bound.tokens.view(Place::Input(QUERY_ROWS), 4),
            ),
            (
                roles.gathered && roles.appends(),
                "new_rows",
                bound.tokens.view(Place::Input(NEW_ROWS), 4),
            ),
        ];
        bindings
            .extend(more.into_iter().filter(|(on, ..)| *on).map(|(_, name, view)| (name, view)));
        if roles.appends() {
            bindings.push(("write_indices", View::all(Place::Input(WRITE))));
        }
        // One that has nothing left to write is bound all the same.
        let nothing = Part { first: 0, count: 1 };
        let caches = [(roles.keys, "key_cache", 1), (roles.values, "value_cache", 2)];
        for ((on, name, output), window) in caches.into_iter().zip(bound.windows) {
            if on {
                let window = window.unwrap_or(&nothing);
                bindings.push((name, window.view(Place::Output(output), facts.cell)));
            }
        }
        bindings
    }
}
