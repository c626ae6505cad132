//! Lines of `/proc/modules`, from old kernels and new ones, whole and broken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use modrace::procfs::modules::{LineError, Sign, State, parse_line, parse_start};
use proptest::prelude::*;

/// The fixture's lines, each with its newline.
macro_rules! lines {
    ($name:literal) => {
        include_str!(concat!("../fixtures/procfs/", $name)).split_inclusive('\n')
    };
}

#[test]
fn the_three_states_parse_whole_on_an_old_kernel_and_a_new_one() {
    let old: Vec<_> = lines!("three-states-3.10.txt").collect();
    let new: Vec<_> = lines!("three-states-6.1-stock.txt").collect();
    let expected = [
        (State::Unloading, Sign::Going),
        (State::Live, Sign::None),
        (State::Loading, Sign::Coming),
    ];
    for (lines, refcounts) in [(old, [0, 0, 1]), (new, [-1, 0, 1])] {
        assert_eq!(lines.len(), 3);
        for ((text, (state, sign)), refcount) in lines.iter().zip(expected).zip(refcounts) {
            let line = parse_line(text.as_bytes()).unwrap();
            let flags = line.flags.unwrap();
            assert_eq!(line.start.name, "dummy_module");
            assert_eq!((line.start.state, flags.sign), (state, sign), "{text}");
            assert_eq!(line.start.refcount, Some(refcount), "{text}");
            assert_eq!(flags.taints, "OE");
            assert!(line.start.size >= 12661, "{text}");
            assert_eq!(line.address % 4096, 0);
        }
    }
}

#[test]
fn a_hidden_address_is_zero_and_a_kernel_without_unload_has_no_count() {
    let hidden = lines!("hidden-6.1-stock.txt").next().unwrap();
    assert_eq!(parse_line(hidden.as_bytes()).unwrap().address, 0);
    let countless = lines!("no-module-unload.txt").next().unwrap();
    let line = parse_line(countless.as_bytes()).unwrap();
    assert_eq!((line.start.refcount, line.start.users), (None, "-"));
}

#[test]
fn users_and_permanence_are_told_apart() {
    let lines: Vec<_> = lines!("users-and-permanent.txt")
        .map(|text| parse_line(text.as_bytes()).unwrap())
        .collect();
    let users = |i: usize| lines[i].start.user_names().collect::<Vec<_>>();
    assert_eq!(
        users(0),
        ["xt_conntrack", "nf_nat", "xt_MASQUERADE", "nft_ct"]
    );
    assert!(users(1).is_empty() && lines[1].start.is_permanent());
    assert_eq!(users(2), ["nf_conntrack"]);
    assert!(lines[2].start.is_permanent() && !lines[0].start.is_permanent());
    assert_eq!(lines[0].flags, None);
    assert_eq!(lines[3].flags.unwrap().taints, "POE");
}

#[test]
fn a_broken_line_is_refused_not_guessed() {
    for text in lines!("broken-lines.txt") {
        assert!(parse_line(text.as_bytes()).is_err(), "{text}");
    }
    let whole = lines!("three-states-3.10.txt").next().unwrap();
    for cut in 0..whole.len() {
        let error = parse_line(&whole.as_bytes()[..cut]).unwrap_err();
        assert_eq!(error, LineError::Cut, "{cut}");
    }
    assert_eq!(
        parse_line(b"dummy_module\xff 1 0 - Live 0x0\n"),
        Err(LineError::NotText)
    );
}

proptest! {
    #[test]
    fn what_m_show_prints_parses_back(
        name in "[a-z][a-z0-9_]{0,54}",
        size in 0_u64..1 << 32,
        refcount in -1_i64..1000,
        users in prop::collection::vec("[a-z][a-z0-9_]{0,20}", 0..4),
        state in prop::sample::select(vec![State::Live, State::Loading, State::Unloading]),
        address: u64,
        taints in prop::option::of("[A-Z]{0,4}"),
    ) {
        let listed = if users.is_empty() {
            "-".to_owned()
        } else {
            users.join(",") + ","
        };
        let flags = taints.as_ref().map_or(String::new(), |taints| format!(" ({taints}+)"));
        let text = format!(
            "{name} {size} {refcount} {listed} {} 0x{address:016x}{flags}\n",
            state.as_str()
        );
        let line = parse_line(text.as_bytes()).unwrap();
        prop_assert_eq!(line.start, parse_start(text.as_bytes()).unwrap());
        prop_assert_eq!(line.start.name, name);
        prop_assert_eq!(line.start.size, size);
        prop_assert_eq!(line.start.refcount, Some(refcount));
        prop_assert_eq!(line.start.user_names().collect::<Vec<_>>(), users);
        prop_assert_eq!(line.start.state, state);
        prop_assert_eq!(line.address, address);
        prop_assert_eq!(line.flags.map(|flags| flags.taints.to_owned()), taints);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_result = parse_line(&bytes);
        let _any_result = parse_start(&bytes);
    }
}
