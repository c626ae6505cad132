//! A run repeated with its seed.

use std::collections::BTreeSet;

use modrace::report::VOLATILE;
use serde_json::Value;

use crate::support::Bench;

/// Where two values differ, as JSON pointers with `*` for an index.
fn differences(one: &Value, two: &Value, at: &str, found: &mut Vec<String>) {
    match (one, two) {
        _ if one == two => {}
        (Value::Object(one), Value::Object(two)) => {
            // A field that is left out is none.
            let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            for key in keys {
                let [one, two] = [one, two].map(|map| map.get(key).unwrap_or(&Value::Null));
                differences(one, two, &format!("{at}/{key}"), found);
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (one, two) in one.iter().zip(two) {
                differences(one, two, &format!("{at}/*"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn two_runs_of_one_seed_differ_only_where_the_schema_says_so() {
    let run = |seed: &str| {
        let bench = Bench::new();
        let arguments = ["--kernel", "lab:fixed", "--trials", "2", "--duration", "2s"];
        let ended = bench.vm(&[&arguments[..], &["--seed", seed]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::to_value(ended.report()).unwrap()
    };
    let not_declared = |one: &Value, two: &Value| {
        let mut found = Vec::new();
        differences(one, two, "", &mut found);
        let declared = |at: &str| {
            let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
            let mut roots = VOLATILE.iter();
            roots.any(|root| at.strip_prefix(root).is_some_and(below))
        };
        // The run took place: it cannot have read as often twice.
        assert!(found.iter().any(|at| at == "/trials/*/reads"), "{found:?}");
        found.retain(|at| !declared(at));
        found.dedup();
        found
    };
    let (first, again, other) = (run("7"), run("7"), run("8"));
    assert_eq!(not_declared(&first, &again), [""; 0]);
    assert_eq!(not_declared(&first, &other), ["/seed", "/trials/*/seed"]);
}
