//! The statistics against R, scipy, statsmodels and mpmath, to 1e-9. The values
//! and the scripts that made them are in `fixtures/stats`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use modrace::stats::{
    ExponentialFit, KaplanMeier, Observation, Rate, Termination, compare_rates, exponentiality,
    fisher, log_rank, mean_above, needed_exposure, p_value_clean,
};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn reference() -> Value {
    serde_json::from_str(include_str!("../fixtures/stats/reference.json")).unwrap()
}

/// Compares, and counts the comparison: a loop over nothing proves nothing.
#[derive(Default)]
struct Check {
    compared: usize,
}

impl Check {
    #[track_caller]
    fn same(&mut self, what: &str, ours: f64, theirs: &Value) {
        let theirs = theirs
            .as_f64()
            .unwrap_or_else(|| panic!("{what}: no value"));
        let error = (ours - theirs).abs() / theirs.abs().max(1e-300);
        assert!(
            error <= TOLERANCE || (ours - theirs).abs() < 1e-15,
            "{what}: {ours:e}, reference {theirs:e}, off by {error:e}"
        );
        self.compared += 1;
    }

    #[track_caller]
    fn same_or_none(&mut self, what: &str, ours: Option<f64>, theirs: &Value) {
        match ours {
            Some(ours) => self.same(what, ours, theirs),
            None => assert!(theirs.is_null(), "{what}: none, reference {theirs}"),
        }
        self.compared += 1;
    }
}

fn f(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn count(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn observations(set: &Value, group: Option<u64>) -> Vec<Observation> {
    list(&set["rows"])
        .iter()
        .filter(|row| group.is_none_or(|group| row[3].as_u64() == Some(group)))
        .map(|row| Observation::new(f(&row[0]), f(&row[1]), row[2].as_bool().unwrap()).unwrap())
        .collect()
}

fn each_set(mut check: impl FnMut(&str, &Value)) {
    for (name, set) in reference()["sets"].as_object().unwrap() {
        check(name, set);
    }
}

#[test]
fn exponential_limits_agree_with_scipy() {
    let mut check = Check::default();
    each_set(|name, set| {
        let all = observations(set, None);
        if set["events"] == 0 {
            let exposure = all.iter().map(Observation::exposure).sum();
            let bound = mean_above(exposure, 0.05).unwrap();
            check.same(name, bound, &set["mean_above_95"]);
            return;
        }
        for (how, key) in [
            (Termination::Failure, "failure_terminated"),
            (Termination::Time, "time_terminated"),
        ] {
            let fit = ExponentialFit::new(&all, 0.95, how).unwrap();
            check.same(name, fit.exposure, &set["exposure"]);
            check.same(name, fit.mean.unwrap(), &set["mean"]);
            check.same(name, fit.low, &set[key][0]);
            check.same(name, fit.high.unwrap(), &set[key][1]);
        }
    });
    for row in list(&reference()["limits_at_exposure_1"]) {
        let fit = |how| {
            ExponentialFit::from_totals(count(&row["crashes"]), 1.0, f(&row["confidence"]), how)
                .unwrap()
        };
        check.same("low", fit(Termination::Failure).low, &row["failure_low"]);
        check.same("low", fit(Termination::Time).low, &row["time_low"]);
        check.same("high", fit(Termination::Time).high.unwrap(), &row["high"]);
    }
    assert!(check.compared > 150, "{}", check.compared);
}

#[test]
fn kaplan_meier_agrees_with_r() {
    let mut check = Check::default();
    each_set(|name, set| {
        let curve = KaplanMeier::new(&observations(set, None), 0.95).unwrap();
        let by_r = &set["kaplan_meier"];
        assert_eq!(curve.steps().len(), list(&by_r["time"]).len(), "{name}");
        for (i, step) in curve.steps().iter().enumerate() {
            check.same(name, step.time, &by_r["time"][i]);
            check.same(name, step.at_risk as f64, &by_r["at_risk"][i]);
            check.same(name, step.survival, &by_r["survival"][i]);
            check.same_or_none(name, step.limits.map(|l| l.0), &by_r["low"][i]);
            check.same_or_none(name, step.limits.map(|l| l.1), &by_r["high"][i]);
        }
        for (i, p) in [0.5, 0.95].into_iter().enumerate() {
            let quantile = curve.quantile(p);
            if name == "crashed and clean" && i == 0 {
                // Level at exactly 1/2 from the last crash on: R takes the
                // middle up to the end of watching, we take the crash.
                assert_eq!(by_r["quantiles"][i].as_f64(), Some(6.0));
                assert_eq!(quantile.estimate, Some(2.0));
                continue;
            }
            check.same_or_none(name, quantile.estimate, &by_r["quantiles"][i]);
            check.same_or_none(name, quantile.low, &by_r["quantiles_low"][i]);
            check.same_or_none(name, quantile.high, &by_r["quantiles_high"][i]);
        }
    });
    assert!(check.compared > 500, "{}", check.compared);
}

#[test]
fn log_rank_agrees_with_r_and_with_all_relabellings() {
    let mut check = Check::default();
    let mut permuted = 0;
    each_set(|name, set| {
        let Some(expected) = set.get("log_rank") else {
            return;
        };
        let test = log_rank(&observations(set, Some(0)), &observations(set, Some(1)), 1).unwrap();
        check.same(name, test.observed, &expected["observed"]);
        check.same(name, test.expected, &expected["expected"]);
        check.same(name, test.variance, &expected["variance"]);
        check.same(name, test.chi2, &expected["chi2"]);
        check.same(name, test.p_value, &expected["p_value"]);
        if let Some(p) = expected.get("permutation_p") {
            assert!(test.exhaustive, "{name}");
            check.same(name, test.permutation_p, p);
            permuted += 1;
        }
    });
    assert!(check.compared >= 20 && permuted == 3);
}

#[test]
fn sampled_relabelling_comes_near_the_asymptotic_p() {
    let all = reference();
    let set = &all["sets"]["two groups"];
    let (first, second) = (observations(set, Some(0)), observations(set, Some(1)));
    // A difference of middling size, where sampling has something to resolve.
    let test = log_rank(&first[..12], &second[..12], 3).unwrap();
    assert!(!test.exhaustive);
    assert!((test.permutation_p - test.p_value).abs() < 0.02, "{test:?}");
}

#[test]
fn weibull_shape_agrees_with_a_forty_digit_likelihood() {
    let mut check = Check::default();
    each_set(|name, set| {
        let test = exponentiality(&observations(set, None));
        let Some(expected) = set.get("weibull") else {
            assert_eq!(test, None, "{name}");
            return;
        };
        let test = test.unwrap();
        check.same(name, test.shape, &expected["shape"]);
        check.same(name, test.likelihood_ratio, &expected["likelihood_ratio"]);
        check.same(name, test.p_value, &expected["p_value"]);
    });
    assert!(check.compared >= 27);
}

#[test]
fn fisher_agrees_with_scipy() {
    let mut check = Check::default();
    for row in list(&reference()["fisher"]) {
        let table: Vec<u32> = list(&row["table"]).iter().map(count).collect();
        let test = fisher((table[0], table[1]), (table[2], table[3]));
        let what = format!("{table:?}");
        check.same(&what, test.p_more, &row["p_more"]);
        check.same(&what, test.p_two_sided, &row["p_two_sided"]);
    }
    assert!(check.compared >= 14);
}

#[test]
fn two_rates_agree_with_scipy_and_statsmodels() {
    let mut check = Check::default();
    for row in list(&reference()["two_rates"]) {
        let rate = |value: &Value| Rate {
            crashes: count(&value[0]),
            exposure: f(&value[1]),
        };
        let test = compare_rates(rate(&row["first"]), rate(&row["second"]), 0.95).unwrap();
        let what = row.to_string();
        check.same(&what, test.p_more, &row["p_more"]);
        check.same(&what, test.p_two_sided, &row["p_two_sided"]);
        check.same(&what, test.low, &row["ratio_ci95"][0]);
        check.same_or_none(&what, test.high, &row["ratio_ci95"][1]);
    }
    assert!(check.compared >= 28);
}

#[test]
fn needed_exposure_agrees_with_forty_digits() {
    let mut check = Check::default();
    for row in list(&reference()["clean"]) {
        let (r, s) = (count(&row["crashes"]), f(&row["exposure"]));
        let needed = needed_exposure(f(&row["alpha"]), r, s).unwrap();
        check.same(&row.to_string(), needed, &row["needed"]);
        let p = p_value_clean(needed / 2.0, r, s).unwrap();
        check.same(&row.to_string(), p, &row["p_at_half"]);
    }
    assert!(check.compared >= 48);
}
