//! The HTTP server: what it answers, what it refuses, and what it survives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod answers;
mod client;
mod echo;
mod guided;
mod refusals;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod survival;
mod thinking;

use libtest_mimic::{Arguments, Failed, Trial};
use support::backends::{self, Named};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("texts_are_the_engines", answers::texts),
    ("streams_say_the_same", answers::streams),
    ("parameters_do_something", answers::parameters),
    ("probabilities_have_both_forms", answers::probabilities),
    ("tokens_stand_where_their_characters_do", answers::places),
    ("prompts_are_told_as_transformers_has_them", echo::judged),
    ("long_prompts_are_told_token_by_token", echo::long),
    ("answers_follow_schemas", guided::formats),
    ("answers_call_tools", guided::calls),
    ("answers_call_tools_in_other_forms", guided::forms),
    ("answers_in_channels", guided::channels),
    ("thoughts_are_told_apart", thinking::opened),
    ("a_form_is_not_that_of_thoughts", thinking::formed),
    ("templates_are_told_of_thoughts", thinking::told),
    ("embeddings_have_length_one", answers::embeddings),
    ("an_encoder_gives_vectors_alone", answers::encoder),
    ("what_is_around_it_answers", answers::around),
    ("malformed_requests_are_explained", refusals::malformed),
    ("bodies_have_limits", refusals::bodies),
    ("keys_are_asked_for", refusals::keys),
    ("strange_names_are_refused", refusals::names),
    ("a_full_engine_says_so", refusals::full),
    ("a_slow_answer_ends", refusals::late),
    ("a_draft_runs_ahead_of_a_server", answers::ahead),
    ("sixty_four_clients_on_four_slots", survival::crowd),
    ("clients_that_vanish_free_their_slots", survival::vanishing),
    ("clients_that_read_nothing_are_cut_off", survival::stalled),
    ("a_lost_device_gives_503_and_comes_back", survival::lost),
    ("an_encoders_lost_device_comes_back", survival::lost_encoder),
    ("documents_are_ranked", answers::ranked),
    ("stopping_lets_answers_end", survival::stopping),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            let name = format!("serve::{}::{name}", backend.name);
            trials.push(Trial::test(name, move || body(&backend)));
        }
    }
    backends::conclude(&arguments, trials);
}
