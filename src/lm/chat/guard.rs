//! Templates that count all of their work.
//!
//! The engine's fuel pays for instructions and for bytes, but not for looking
//! into nested values: two lists that hold themselves twice, sixty times over,
//! cost a few hundred fuel to make and for ever to compare, and one nested some
//! ten thousand deep fills the stack when it is freed. So a template is
//! rewritten before it is compiled: what makes a list, and what looks into
//! one, goes through [`check`], which walks the value, pays for each step and
//! refuses what is nested too deep.
//!
//! The engine's parser and compiler recurse with the source, too; [`parse`]
//! bounds the source first.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt};
use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Names of functions that no template can spell.
const CHECK: &str = "check value";
const CHECK_STORED: &str = "check stored value";
const PERCENT: &str = "left % right";

/// The deepest nesting of lists and maps; templates in use nest two or three.
const MAX_DEPTH: usize = 32;
/// Values that one fuel pays for.
const STEPS: usize = 16;
/// Values that one fuel pays for where they are copied to a list.
const COPIES: usize = 4;

/// The longest expression or statement, in tokens: the engine recurses over
/// its parts.
const MAX_TAG: usize = 1000;
/// The most `elif`: the engine takes each for an `if` within the one before.
const MAX_ELIF: usize = 256;

/// Filters that look at no more of their input than its length or its ends, or
/// that pay for what they see.
const SHALLOW: [&str; 11] = [
    "length", "count", "first", "last", "default", "d", "list", "items", "safe", "string", "tojson",
];

/// Why a source is not a template.
pub(super) enum Fault {
    /// The engine says so.
    Engine(Error),
    /// A line and what is wrong there.
    Here(u16, String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Engine(error)
    }
}

/// Adds the functions that rewritten templates call, and takes away what they
/// cannot see through.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_function(CHECK, check);
    environment.add_function(CHECK_STORED, check_stored);
    environment.add_function(PERCENT, super::percent::percent);
    // Not a filter of Jinja; chains of maps would grow without being walked.
    environment.remove_filter("chain");
}

/// Parses a source and rewrites it.
pub(super) fn parse<'a>(
    source: &'a str,
    name: &'a str,
    syntax: &SyntaxConfig,
) -> Result<Stmt<'a>, Fault> {
    check_source(source, syntax)?;
    statement(&minijinja::machinery::parse(source, name, syntax.clone())?)
}

fn check_source(source: &str, syntax: &SyntaxConfig) -> Result<(), Fault> {
    let (mut within, mut elifs) = (0, 0);
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token?;
        match token {
            Token::VariableStart | Token::BlockStart => within = 0,
            Token::Ident("elif") => elifs += 1,
            _ => within += 1,
        }
        if within > MAX_TAG {
            let what = format!("an expression of more than {MAX_TAG} tokens");
            return Err(Fault::Here(span.start_line, what));
        }
        if elifs > MAX_ELIF {
            return Err(Fault::Here(span.start_line, format!("more than {MAX_ELIF} elif")));
        }
    }
    Ok(())
}

/// Walks a value and pays for it. Sequences that are computed when they are
/// looked at become lists, so that they cannot be chained.
fn check(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if !is_container(&value) {
        return Ok(value);
    }
    let value = if is_computed(&value) { listed(state, &value)? } else { value };
    walk(state, &value, 0, &mut 0)?;
    Ok(value)
}

/// As [`check`], for what a namespace is to hold: not another one, which could
/// hold the first.
fn check_stored(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    refuse_objects(&value)?;
    check(state, value)
}

fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// Whether the items are made when they are asked for.
fn is_computed(value: &Value) -> bool {
    let stored = || {
        value.downcast_object_ref::<Vec<Value>>().is_some()
            || value.downcast_object_ref::<Tuple>().is_some()
    };
    value.kind() == ValueKind::Iterable || value.kind() == ValueKind::Seq && !stored()
}

fn listed(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let mut items = Vec::new();
    for item in value.try_iter()? {
        if items.len().is_multiple_of(COPIES) {
            state.consume_fuel(1)?;
        }
        items.push(item);
    }
    Ok(items.into())
}

fn walk(
    state: &State<'_, '_>,
    value: &Value,
    depth: usize,
    steps: &mut usize,
) -> Result<(), Error> {
    *steps += 1;
    if steps.is_multiple_of(STEPS) {
        state.consume_fuel(1)?;
    }
    if depth > 0 {
        refuse_objects(value)?;
    }
    if !is_container(value) {
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(invalid(format!("values nested deeper than {MAX_DEPTH}")));
    }
    let is_map = value.kind() == ValueKind::Map;
    for item in value.try_iter()? {
        walk(state, &item, depth + 1, steps)?;
        if is_map {
            walk(state, &value.get_item(&item)?, depth + 1, steps)?;
        }
    }
    Ok(())
}

/// Namespaces, macros and their like in a list could close a circle.
fn refuse_objects(value: &Value) -> Result<(), Error> {
    let namespace = |value: &Value| {
        value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
    };
    match value.kind() {
        ValueKind::Plain => Err(invalid(format!("a list or namespace cannot hold {value}"))),
        ValueKind::Map if namespace(value) => {
            Err(invalid("a list or namespace cannot hold a namespace".into()))
        }
        ValueKind::Invalid => Err(invalid("an invalid value".into())),
        _ => Ok(()),
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

fn statements<'a>(list: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Fault> {
    list.iter().map(statement).collect()
}

fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Fault> {
    Ok(match stmt {
        Stmt::Template(s) => {
            let node = ast::Template { children: statements(&s.children)? };
            Stmt::Template(Spanned::new(node, s.span()))
        }
        Stmt::EmitExpr(s) => {
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: expr(&s.expr) }, s.span()))
        }
        Stmt::EmitRaw(s) => Stmt::EmitRaw(Spanned::new(ast::EmitRaw { raw: s.raw }, s.span())),
        Stmt::ForLoop(s) => {
            let node = ast::ForLoop {
                target: target(&s.target),
                iter: expr(&s.iter),
                filter_expr: s.filter_expr.as_ref().map(expr),
                recursive: s.recursive,
                body: statements(&s.body)?,
                else_body: statements(&s.else_body)?,
            };
            Stmt::ForLoop(Spanned::new(node, s.span()))
        }
        Stmt::IfCond(s) => {
            let node = ast::IfCond {
                expr: expr(&s.expr),
                true_body: statements(&s.true_body)?,
                false_body: statements(&s.false_body)?,
            };
            Stmt::IfCond(Spanned::new(node, s.span()))
        }
        Stmt::WithBlock(s) => {
            let assign = |(to, value): &(Expr<'a>, Expr<'a>)| (target(to), assigned(to, value));
            let assignments = s.assignments.iter().map(assign).collect();
            let node = ast::WithBlock { assignments, body: statements(&s.body)? };
            Stmt::WithBlock(Spanned::new(node, s.span()))
        }
        Stmt::Set(s) => {
            let node = ast::Set { target: target(&s.target), expr: assigned(&s.target, &s.expr) };
            Stmt::Set(Spanned::new(node, s.span()))
        }
        Stmt::SetBlock(s) => {
            let node = ast::SetBlock {
                target: target(&s.target),
                filter: s.filter.as_ref().map(expr),
                body: statements(&s.body)?,
            };
            Stmt::SetBlock(Spanned::new(node, s.span()))
        }
        Stmt::AutoEscape(s) => {
            let node = ast::AutoEscape { enabled: expr(&s.enabled), body: statements(&s.body)? };
            Stmt::AutoEscape(Spanned::new(node, s.span()))
        }
        Stmt::FilterBlock(s) => {
            let node = ast::FilterBlock {
                filter: expr(&s.filter),
                filter_span: s.filter_span,
                body: statements(&s.body)?,
            };
            Stmt::FilterBlock(Spanned::new(node, s.span()))
        }
        Stmt::Macro(s) => Stmt::Macro(macro_(s)?),
        Stmt::CallBlock(s) => {
            let node = ast::CallBlock {
                call: call(&s.call),
                call_expr_span: s.call_expr_span,
                macro_decl: macro_(&s.macro_decl)?,
            };
            Stmt::CallBlock(Spanned::new(node, s.span()))
        }
        Stmt::Continue(s) => Stmt::Continue(Spanned::new(ast::Continue, s.span())),
        Stmt::Break(s) => Stmt::Break(Spanned::new(ast::Break, s.span())),
        Stmt::Do(s) => Stmt::Do(Spanned::new(ast::Do { call: call(&s.call) }, s.span())),
        Stmt::Block(s) => return Err(other_templates(s.span())),
        Stmt::Extends(s) => return Err(other_templates(s.span())),
        Stmt::Include(s) => return Err(other_templates(s.span())),
        Stmt::Import(s) => return Err(other_templates(s.span())),
        Stmt::FromImport(s) => return Err(other_templates(s.span())),
    })
}

/// A file has one template.
fn other_templates(span: Span) -> Fault {
    Fault::Here(span.start_line, "a chat template cannot use other templates or blocks".into())
}

fn macro_<'a>(s: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Fault> {
    let node = ast::Macro {
        name: s.name,
        args: s.args.iter().map(target).collect(),
        defaults: s.defaults.iter().map(expr).collect(),
        body: statements(&s.body)?,
    };
    Ok(Spanned::new(node, s.span()))
}

/// What is assigned to: names, lists of them, a namespace's attributes.
fn target<'a>(to: &Expr<'a>) -> Expr<'a> {
    match to {
        Expr::List(s) => {
            let items = s.items.iter().map(target).collect();
            Expr::List(Spanned::new(ast::List { items }, s.span()))
        }
        Expr::GetAttr(s) => {
            let node = ast::GetAttr { expr: expr(&s.expr), name: s.name };
            Expr::GetAttr(Spanned::new(node, s.span()))
        }
        other => expr(other),
    }
}

fn assigned<'a>(to: &Expr<'a>, value: &Expr<'a>) -> Expr<'a> {
    match to {
        Expr::GetAttr(_) => checked(CHECK_STORED, expr(value)),
        // Only the whole can be checked; its parts have been, if it is a list.
        Expr::List(_) => checked(CHECK, expr(value)),
        _ => expr(value),
    }
}

fn checked<'a>(function: &'a str, value: Expr<'a>) -> Expr<'a> {
    let span = value.span();
    called(function, vec![value], span)
}

fn called<'a>(function: &'a str, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let name = Expr::Var(Spanned::new(ast::Var { id: function }, span));
    let args = args.into_iter().map(CallArg::Pos).collect();
    Expr::Call(Spanned::new(ast::Call { expr: name, args }, span))
}

/// An expression whose value is looked into.
fn operand<'a>(e: &Expr<'a>) -> Expr<'a> {
    if is_constant(e) || makes_values(e) { expr(e) } else { checked(CHECK, expr(e)) }
}

fn is_constant(e: &Expr<'_>) -> bool {
    matches!(e, Expr::Const(_))
}

/// Whether the value can be a new list or map, which is then checked.
fn makes_values(e: &Expr<'_>) -> bool {
    match e {
        Expr::Slice(_) | Expr::Filter(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => true,
        Expr::BinOp(s) => matches!(s.op, BinOpKind::Add | BinOpKind::Mul),
        // These are instructions of the engine, not functions.
        Expr::Call(s) => !matches!(&s.expr, Expr::Var(v) if matches!(v.id, "loop" | "super")),
        _ => false,
    }
}

fn expr<'a>(e: &Expr<'a>) -> Expr<'a> {
    let rewritten = parts(e);
    if makes_values(e) && e.as_const().is_none() { checked(CHECK, rewritten) } else { rewritten }
}

/// The expression with its parts rewritten.
fn parts<'a>(e: &Expr<'a>) -> Expr<'a> {
    match e {
        Expr::Var(s) => Expr::Var(Spanned::new(ast::Var { id: s.id }, s.span())),
        Expr::Const(s) => {
            Expr::Const(Spanned::new(ast::Const { value: s.value.clone() }, s.span()))
        }
        Expr::Slice(s) => {
            let node = ast::Slice {
                expr: operand(&s.expr),
                start: s.start.as_ref().map(expr),
                stop: s.stop.as_ref().map(expr),
                step: s.step.as_ref().map(expr),
            };
            Expr::Slice(Spanned::new(node, s.span()))
        }
        Expr::UnaryOp(s) => {
            let not = matches!(s.op, ast::UnaryOpKind::Not);
            let op = if not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
            Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: expr(&s.expr) }, s.span()))
        }
        // The engine's own divides, and refuses strings.
        Expr::BinOp(s) if matches!(s.op, BinOpKind::Rem) => {
            called(PERCENT, vec![operand(&s.left), operand(&s.right)], s.span())
        }
        Expr::BinOp(s) => {
            // What follows `and` and `or` is passed on as it is.
            let part = match s.op {
                BinOpKind::ScAnd | BinOpKind::ScOr => expr,
                _ => operand,
            };
            let node = ast::BinOp { op: s.op, left: part(&s.left), right: part(&s.right) };
            Expr::BinOp(Spanned::new(node, s.span()))
        }
        Expr::Compare(s) => {
            let compare =
                |c: &ast::CompareOp<'a>| ast::CompareOp { op: c.op, expr: operand(&c.expr) };
            let node =
                ast::Compare { expr: operand(&s.expr), ops: s.ops.iter().map(compare).collect() };
            Expr::Compare(Spanned::new(node, s.span()))
        }
        Expr::IfExpr(s) => {
            let node = ast::IfExpr {
                test_expr: expr(&s.test_expr),
                true_expr: expr(&s.true_expr),
                false_expr: s.false_expr.as_ref().map(expr),
            };
            Expr::IfExpr(Spanned::new(node, s.span()))
        }
        Expr::Filter(s) => {
            let input = if SHALLOW.contains(&s.name) { expr } else { operand };
            let node = ast::Filter {
                name: s.name,
                expr: s.expr.as_ref().map(input),
                args: arguments(&s.args),
            };
            Expr::Filter(Spanned::new(node, s.span()))
        }
        Expr::Test(s) => {
            // Only tests with an argument compare.
            let input = if s.args.is_empty() { expr } else { operand };
            let node = ast::Test { name: s.name, expr: input(&s.expr), args: arguments(&s.args) };
            Expr::Test(Spanned::new(node, s.span()))
        }
        Expr::GetAttr(s) => {
            let node = ast::GetAttr { expr: expr(&s.expr), name: s.name };
            Expr::GetAttr(Spanned::new(node, s.span()))
        }
        Expr::GetItem(s) => {
            let node =
                ast::GetItem { expr: expr(&s.expr), subscript_expr: operand(&s.subscript_expr) };
            Expr::GetItem(Spanned::new(node, s.span()))
        }
        Expr::Call(s) => Expr::Call(call(s)),
        Expr::List(s) => {
            let items = s.items.iter().map(expr).collect();
            Expr::List(Spanned::new(ast::List { items }, s.span()))
        }
        Expr::Tuple(s) => {
            let items = s.items.iter().map(expr).collect();
            Expr::Tuple(Spanned::new(ast::Tuple { items }, s.span()))
        }
        Expr::Map(s) => {
            let node = ast::Map {
                keys: s.keys.iter().map(operand).collect(),
                values: s.values.iter().map(expr).collect(),
            };
            Expr::Map(Spanned::new(node, s.span()))
        }
    }
}

fn call<'a>(s: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    Spanned::new(ast::Call { expr: parts(&s.expr), args: arguments(&s.args) }, s.span())
}

fn arguments<'a>(list: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let argument = |argument: &CallArg<'a>| match argument {
        CallArg::Pos(e) => CallArg::Pos(operand(e)),
        CallArg::Kwarg(name, e) => CallArg::Kwarg(name, operand(e)),
        CallArg::PosSplat(e) => CallArg::PosSplat(operand(e)),
        CallArg::KwargSplat(e) => CallArg::KwargSplat(operand(e)),
    };
    list.iter().map(argument).collect()
}
