//! The trials.

use crate::adapters::{self, Config, Tested};
use crate::failures::Failures;
use crate::shapes::{is_small, is_split, small};
use crate::{coverage, drawn, flawed, names};
use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use wginfer::Backend;
use wginfer::graph::Bindings;
use wginfer::kernels::registry::{FAMILIES, KernelFamily};
use wginfer::kernels::{Policy, Variant};
use wginfer::ops::Arithmetic;
use wginfer::ops::registry::{OPERATORS, OperatorInfo};
use wginfer::plan::Plan;
use wginfer::validate::{CaseFamily, Extents, Passed, Setup, Target, Yardstick, run_family};

/// How many shapes of a family a quick run tries.
const QUICK_SHAPES: usize = 3;

/// How many case families a forced variant has to run in a quick run; the
/// kernels chosen by default go through all of them.
const QUICK_FORCED: usize = 1;

/// From how many case families of an operator on a quick run tries two shapes of each
/// with an adapter's own choice, the first and in turns the last or another. They differ in
/// a dtype for the most part, and compiling the shaders for large shapes is most of the time.
const MANY_FAMILIES: usize = 8;

/// The adapters whose compilers or kernels take longer than all else.
const SLOW: &[&str] = &["swiftshader", "lavapipe-old"];

/// How many operators the list of the slowest has.
const SLOWEST: usize = 24;

/// Operators whose results have the extents that an attribute gives, so that an
/// input's symbol has nothing to agree with. (A case's attributes have none.)
const SIZED_BY_ATTRIBUTE: &[&str] = &["Reshape"];

/// The CPU backend where it may round operands to eight bits.
const CPU_INT8: &str = "cpu+int8";

/// What the environment asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) quick: bool,
}

impl Settings {
    pub(crate) fn from_env() -> Self {
        let seed = std::env::var("WGINFER_SEED").ok().map(|text| {
            text.trim().parse().unwrap_or_else(|_| panic!("WGINFER_SEED={text} is no number"))
        });
        // The standard library seeds its hash tables from the system.
        let fresh = || std::hash::RandomState::new().build_hasher().finish() >> 32;
        Settings {
            seed: seed.unwrap_or_else(fresh),
            quick: std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0"),
        }
    }
}

/// An operator and its cases.
struct Tried {
    info: &'static OperatorInfo,
    families: Vec<CaseFamily>,
    /// The rooms of the kernels that it is lowered to.
    rooms: BTreeSet<String>,
}

/// What the passing trials did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// `family/variant` names, by adapter.
    pub(crate) variants: BTreeMap<String, BTreeSet<String>>,
    /// By operator, runs with symbolic extents.
    pub(crate) symbolic: BTreeMap<&'static str, usize>,
    /// By operator, the largest part of a bound used up, and where.
    pub(crate) worst: BTreeMap<&'static str, (f64, String)>,
    /// Runs in all.
    pub(crate) runs: usize,
    /// Runs among them that were the same as an earlier one on the adapter.
    same: usize,
    /// Seconds by what is tried: an adapter and an operator.
    seconds: BTreeMap<String, f64>,
}

/// Adapters, operators, and what has been done with them.
pub(crate) struct Suite {
    settings: Settings,
    adapters: Vec<Arc<Tested>>,
    operators: Vec<Arc<Tried>>,
    done: Arc<Mutex<Done>>,
    failures: Failures,
}

impl Suite {
    pub(crate) fn new(settings: Settings) -> Self {
        let tried = |info: &'static OperatorInfo| {
            let families = (info.cases)();
            let rooms = rooms_of(info, &families);
            Arc::new(Tried { info, families, rooms })
        };
        Suite {
            settings,
            adapters: adapters::find(),
            operators: OPERATORS.iter().map(tried).collect(),
            done: Arc::default(),
            failures: Failures::default(),
        }
    }

    pub(crate) fn trials(&self) -> Vec<Trial> {
        let mut trials =
            vec![self.failures.trial("adapters::expected".into(), || Ok(names::expected()?))];
        let flawed = |adapter| flawed::trials(adapter, &self.failures);
        trials.extend(in_turn(self.adapters.iter().map(flawed)));
        // One operator after another, since its trials share shaders and references.
        for (number, tried) in self.operators.iter().enumerate() {
            trials.extend(self.plain_trials(tried, "cpu", None));
            if tried.rooms.contains("matmul") {
                trials.extend(self.plain_trials(tried, CPU_INT8, None));
            }
            let turn = number + self.settings.seed as usize / 4;
            let on = |(i, adapter): (usize, _)| {
                // What is left to a device that offers the least is much the same on all.
                let elsewhere = self.settings.quick && self.adapters.len() > 1;
                self.trials_on(tried, adapter, !elsewhere || (turn + i).is_multiple_of(2))
            };
            trials.extend(in_turn(self.adapters.iter().enumerate().map(on)));
        }
        trials
    }

    /// `least`: also with a device that offers the least.
    fn trials_on(&self, tried: &Arc<Tried>, adapter: &Arc<Tested>, least: bool) -> Vec<Trial> {
        let mut trials = Vec::new();
        for config in Config::ALL {
            let name = format!("{}{}", adapter.name, config.suffix());
            // Without a variant that uses what is masked, it is the same run again.
            if config == Config::Plain && self.settings.quick && !has_options(tried) {
                continue;
            }
            if config == Config::Minimum && !least {
                continue;
            }
            trials.extend(self.plain_trials(tried, &name, Some((adapter, config))));
        }
        trials.extend(self.forced_trials(tried, adapter));
        trials
    }

    /// Every case family of an operator, with the kernels the backend chooses.
    fn plain_trials(
        &self,
        tried: &Arc<Tried>,
        name: &str,
        on: Option<(&Arc<Tested>, Config)>,
    ) -> Vec<Trial> {
        let mut trials = Vec::new();
        for (i, family) in tried.families.iter().enumerate() {
            if family.cpu_only && on.is_some() {
                continue;
            }
            // What differs in a dtype differs no more where the device offers less, or on an
            // adapter that takes long: of many families half with each seed, but all that are
            // split there.
            let reduced = on.is_some_and(|(adapter, config)| is_reduced(adapter, config));
            let half = self.settings.quick && tried.families.len() >= MANY_FAMILIES && reduced;
            let other = (i + self.settings.seed as usize / 2) % 2 == 1;
            if half && other && !family.shapes.iter().any(|shape| is_split(family, shape)) {
                continue;
            }
            let title = format!("{name}::{}::{}", tried.info.name, family.label);
            let int8 = name == CPU_INT8;
            let on = on.map(|(adapter, config)| (adapter.clone(), config));
            let job = self.job(tried, &title);
            trials.push(self.failures.trial(title, move || {
                let passed = match &on {
                    None => job.run(i, &on_cpu(int8), false)?,
                    Some((adapter, config)) => job.run_on(i, adapter, *config)?,
                };
                if passed.runs == 0 {
                    return Err("the family has no case at all".into());
                }
                job.record(&passed, on.as_ref().map(|(adapter, _)| adapter.name.as_str()));
                Ok(())
            }));
        }
        trials
    }

    /// Every variant of every kernel family that an operator uses.
    fn forced_trials(&self, tried: &Arc<Tried>, adapter: &Arc<Tested>) -> Vec<Trial> {
        let mut trials = Vec::new();
        for family in FAMILIES.iter().filter(|family| tried.rooms.contains(room(family.name))) {
            for variant in family.variants {
                let name = &adapter.name;
                let title = format!("{name}+{}/{}::{}", family.name, variant.name, tried.info.name);
                let (job, adapter) = (self.job(tried, &title), adapter.clone());
                trials.push(
                    self.failures.trial(title, move || job.forced(&adapter, family, variant)),
                );
            }
        }
        trials
    }

    fn job(&self, tried: &Arc<Tried>, title: &str) -> Job {
        Job {
            tried: tried.clone(),
            settings: self.settings,
            done: self.done.clone(),
            title: title.into(),
        }
    }

    /// Writes down what was executed and checks that it is what the tables
    /// say. Whether all is well.
    pub(crate) fn finish(&self) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{} runs, {} of them the same as an earlier one", done.runs, done.same);
        println!("the largest part of a bound that each operator used up:");
        for (op, (ratio, at)) in &done.worst {
            println!("  {op}: {ratio:.3} ({at})");
        }
        print_seconds(&done.seconds);
        let mut complaints = coverage::check(&self.adapters, &done);
        for tried in &self.operators {
            if SIZED_BY_ATTRIBUTE.contains(&tried.info.name) {
                continue;
            }
            let has_inputs = tried.families.iter().any(has_shaped_run_input);
            if has_inputs && done.symbolic.get(tried.info.name).is_none_or(|&runs| runs == 0) {
                complaints.push(format!("{}: no case accepts symbolic extents", tried.info.name));
            }
        }
        for complaint in &complaints {
            println!("FAILED: {complaint}");
        }
        complaints.is_empty()
    }

    /// Says once more which trials failed, and with which seed.
    pub(crate) fn name_failures(&self) {
        self.failures.print(self.settings.seed);
    }
}

/// The CPU backend, or the same with operands that may be rounded to eight bits.
fn on_cpu(int8: bool) -> Target {
    let target = Target::new(Backend::Cpu);
    if !int8 {
        return target;
    }
    let policy = Policy { allow_int8: true, ..Policy::default() };
    Target { policy, arithmetic: Arithmetic::Int8In, ..target }
}

/// Whether a quick run takes less of what is long.
fn is_reduced(adapter: &Tested, config: Config) -> bool {
    config != Config::Full || adapter.known.is_some_and(|name| SLOW.contains(&name))
}

/// What a trial needs.
struct Job {
    tried: Arc<Tried>,
    settings: Settings,
    done: Arc<Mutex<Done>>,
    title: String,
}

impl Job {
    fn run_on(&self, family: usize, adapter: &Tested, config: Config) -> Result<Passed, Failed> {
        let target = Target::new(Backend::Gpu(adapter.open(config)?));
        let target = Target { proven: Some(adapter.proven.clone()), ..target };
        let reduced = is_reduced(adapter, config);
        self.run(family, &target, reduced)
    }

    /// `reduced`: with a device that offers less, where the kernels differ little,
    /// or on an adapter that takes long. A quick run takes one shape there, and
    /// those that are split.
    fn run(&self, number: usize, target: &Target, reduced: bool) -> Result<Passed, Failed> {
        let family = &self.tried.families[number];
        let mut shapes = self.shapes(family);
        let many = self.tried.families.len() >= MANY_FAMILIES && shapes.len() == 3;
        let compiled = matches!(target.backend, Backend::Gpu(_));
        if self.settings.quick && many && compiled && !reduced {
            // Half of the seeds leave out the other one.
            let left_out = 1 + (number + self.settings.seed as usize / 2) % 2;
            let one = shapes.remove(left_out);
            let left = shapes.iter().any(|shape| (family.build)(shape).is_some());
            if !left || is_split(family, &one) {
                shapes.push(one);
            }
        }
        if reduced && self.settings.quick && shapes.len() > 1 {
            let one = shapes.swap_remove(1);
            shapes.retain(|shape| is_split(family, shape));
            shapes.push(one);
        }
        self.run_shapes(family, &shapes, target, None)
    }

    fn run_shapes(
        &self,
        family: &CaseFamily,
        shapes: &[Vec<usize>],
        target: &Target,
        only: Option<&str>,
    ) -> Result<Passed, Failed> {
        let started = Instant::now();
        let passed = run_family(family, shapes, self.settings.seed, target, only);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let what = self.title.split("::").take(2).collect::<Vec<_>>().join(" ");
        *done.seconds.entry(what).or_default() += started.elapsed().as_secs_f64();
        passed.map_err(|e| Failed::from(*e))
    }

    /// All shapes and one drawn at random, or a few: the first, the last, and
    /// between them the drawn one or one of the list, as the seed has it.
    fn shapes(&self, family: &CaseFamily) -> Vec<Vec<usize>> {
        let (all, seed) = (&family.shapes, self.settings.seed);
        let drawn = drawn::shape(family, seed);
        if !self.settings.quick {
            return all.iter().cloned().chain(drawn).collect();
        }
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
        let middle = &all[1.min(all.len())..all.len().saturating_sub(1).max(1)];
        let start = seed as usize % middle.len().max(1);
        let mut turned = middle[start..].iter().chain(&middle[..start]);
        let listed = turned.find(|shape| (family.build)(shape).is_some()).cloned();
        let between = if seed.is_multiple_of(2) { drawn.or(listed) } else { listed.or(drawn) };
        let shapes = [Some(first.clone()), between, (all.len() > 1).then(|| last.clone())];
        shapes.into_iter().flatten().collect()
    }

    fn forced(
        &self,
        adapter: &Tested,
        family: &KernelFamily,
        variant: &Variant,
    ) -> Result<(), Failed> {
        // Where operands are split they are large: minutes on a software adapter.
        let quick = [Config::Full];
        let all = [Config::Full, Config::Minimum];
        for &config in if self.settings.quick { &quick[..] } else { &all } {
            let gpu = adapter.open(config)?;
            if variant.needs.lacking(gpu.caps()).is_some() {
                continue;
            }
            let arithmetic = variant.needs.arithmetic();
            let policy = Policy {
                force: BTreeMap::from([(family.name.into(), variant.name.into())]),
                allow_f16: arithmetic == Arithmetic::F16In,
                allow_int8: arithmetic == Arithmetic::Int8In,
                ..Policy::default()
            };
            let proven = Some(adapter.proven.clone());
            let target = Target { backend: Backend::Gpu(gpu), policy, arithmetic, proven };
            let name = format!("{}/{}", family.name, variant.name);
            let mut ran = 0;
            for cases in self.forced_families() {
                if self.settings.quick && ran == QUICK_FORCED {
                    break;
                }
                let mut shapes = self.shapes(cases);
                // The default kernels go through the others; here it is the one
                // that changes with the seed, if it is small.
                if self.settings.quick {
                    shapes = small(cases, shapes);
                }
                // The rest is no different there.
                if config == Config::Minimum {
                    shapes.retain(|shape| is_split(cases, shape));
                }
                let passed = self.run_shapes(cases, &shapes, &target, Some(&name))?;
                ran += usize::from(passed.runs > 0);
                self.record(&passed, Some(&adapter.name));
            }
            if self.settings.quick && ran == 0 {
                self.forced_once(&target, &name, adapter)?;
            }
        }
        Ok(())
    }

    /// Where none of the shapes that the seed draws suits a variant: the first
    /// case family that has one, as what a variant claims has to be shown with
    /// every seed.
    fn forced_once(&self, target: &Target, name: &str, adapter: &Tested) -> Result<(), Failed> {
        for cases in self.forced_families() {
            let shapes: Vec<_> =
                cases.shapes.iter().filter(|shape| is_small(cases, shape)).cloned().collect();
            let passed = self.run_shapes(cases, &shapes, target, Some(name))?;
            self.record(&passed, Some(&adapter.name));
            if passed.runs > 0 {
                break;
            }
        }
        Ok(())
    }

    /// The case families that forced variants run: in a quick run they start at
    /// another one with each seed, and those that take long are left out.
    fn forced_families(&self) -> impl Iterator<Item = &CaseFamily> {
        let (families, quick) = (&self.tried.families, self.settings.quick);
        let first = if quick { self.settings.seed as usize % families.len().max(1) } else { 0 };
        let all = families[first..].iter().chain(&families[..first]);
        all.filter(move |cases| !(cases.cpu_only || cases.heavy && quick))
    }

    fn record(&self, passed: &Passed, adapter: Option<&str>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.runs += passed.runs;
        done.same += passed.same;
        *done.symbolic.entry(self.tried.info.name).or_default() += passed.symbolic;
        let worst = done.worst.entry(self.tried.info.name).or_default();
        if passed.worst_ratio >= worst.0 {
            *worst = (passed.worst_ratio, self.title.clone());
        }
        if let Some(adapter) = adapter {
            let variants = done.variants.entry(adapter.into()).or_default();
            variants.extend(passed.variants.iter().cloned());
        }
    }
}

/// Where the time went: by what kind of trial, and in the slowest operators.
fn print_seconds(seconds: &BTreeMap<String, f64>) {
    let mut kinds: BTreeMap<String, f64> = BTreeMap::new();
    for (what, seconds) in seconds {
        let on = what.split(' ').next().unwrap_or(what);
        let kind = match on.split_once('+') {
            Some((adapter, variant)) if variant.contains('/') => format!("{adapter}+forced"),
            _ => on.to_string(),
        };
        *kinds.entry(kind).or_default() += seconds;
    }
    println!("seconds:");
    for (kind, seconds) in kinds {
        println!("  {kind}: {seconds:.1}");
    }
    let mut slow: Vec<_> = seconds.iter().collect();
    slow.sort_by(|a, b| b.1.total_cmp(a.1));
    println!("the most:");
    for (what, seconds) in slow.into_iter().take(SLOWEST) {
        println!("  {what}: {seconds:.1}");
    }
}

/// One trial of each list after another, so that the threads are on different adapters
/// for the most part.
fn in_turn(lists: impl Iterator<Item = Vec<Trial>>) -> Vec<Trial> {
    let mut lists: Vec<_> = lists.map(Vec::into_iter).collect();
    let mut trials = Vec::new();
    loop {
        let before = trials.len();
        trials.extend(lists.iter_mut().filter_map(Iterator::next));
        if trials.len() == before {
            return trials;
        }
    }
}

/// The rooms of the kernels that an operator is lowered to.
fn rooms_of(info: &OperatorInfo, families: &[CaseFamily]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::from([info.family.to_string()]);
    // The rooms are the same for large shapes, whose values take long to draw.
    let small = |family: &&CaseFamily| {
        let mut shapes = family.shapes.clone();
        shapes.sort_by_key(|shape| shape.iter().product::<usize>());
        shapes.truncate(QUICK_SHAPES);
        shapes
    };
    let cases =
        families.iter().flat_map(|f| small(&f).into_iter().filter_map(|shape| (f.build)(&shape)));
    for case in cases {
        // What does not work here fails in the trials of the operator itself.
        let plan = Yardstick::operands(&case, 0)
            .and_then(|operands| Setup::new(&case, &operands, Extents::Fixed, |_| false))
            .and_then(|setup| Plan::new(&setup.graph, &Bindings::new(0)));
        if let Ok(plan) = plan {
            rooms.extend(plan.calls().map(|call| room(call.kernel.name()).to_string()));
        }
    }
    rooms
}

/// `matmul` of `matmul.decode` or `matmul/tiled`.
fn room(name: &str) -> &str {
    name.split(['.', '/']).next().unwrap_or(name)
}

/// Whether some variant of the operator's kernels needs an optional feature.
fn has_options(tried: &Tried) -> bool {
    let own = FAMILIES.iter().filter(|family| tried.rooms.contains(room(family.name)));
    own.flat_map(|family| family.variants)
        .any(|variant| variant.needs.f16 || variant.needs.subgroups || variant.needs.coop.is_some())
}

fn has_shaped_run_input(family: &CaseFamily) -> bool {
    let cases = family.shapes.iter().filter_map(|shape| (family.build)(shape));
    let mut inputs = cases.flat_map(|case| case.inputs.into_iter().flatten());
    inputs.any(|input| !input.constant && !input.state && !input.extents.is_empty())
}
