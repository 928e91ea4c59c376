//! Tables of hostile files: what is changed, and what the message must say.

use crate::judge::{self, FILE, bounded, check_error};
use crate::raw::Raw;
use wginfer::ErrorKind;

/// What is done to a valid file.
pub(crate) type Change<'a> = &'a dyn Fn(&mut Raw);

/// A change, the kind of error it must give, and what the message must name
/// beside the file.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) change: Change<'a>,
    pub(crate) kind: ErrorKind,
    pub(crate) names: &'a str,
}

/// Checks that each change is refused by what reads or loads a file, for the
/// reason it was made for, and that the message names the file too.
pub(crate) fn check(cases: &[Case<'_>]) {
    let valid = crate::valid();
    let mut wrong = Vec::new();
    for case in cases {
        let mut raw = Raw::new(&valid);
        (case.change)(&mut raw);
        let bytes = raw.bytes();
        let read = bounded(case.name, || judge::read_all(&bytes));
        let Err(error) = read.and_then(|()| judge::load_and_step(&bytes)) else {
            wrong.push(format!("{}: accepted", case.name));
            continue;
        };
        check_error(&error, case.name);
        let text = error.to_string();
        if error.kind() != case.kind || !text.contains(case.names) || !text.contains(FILE) {
            let wanted = format!("{:?} naming {FILE} and {}", case.kind, case.names);
            wrong.push(format!("{}: {:?}: {text} (wanted {wanted})", case.name, error.kind()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Checks changes that a reader may accept: whatever comes of them, it comes
/// within the bounds, and loading gives logits or a typed error.
pub(crate) fn survive(cases: &[(&str, Change<'_>)]) {
    let valid = crate::valid();
    for (name, change) in cases {
        let mut raw = Raw::new(&valid);
        change(&mut raw);
        let bytes = raw.bytes();
        let read = bounded(name, || judge::read_all(&bytes));
        if let Err(error) = read.and_then(|()| judge::load_and_step(&bytes)) {
            check_error(&error, name);
        }
    }
}
