//! Schedules of traces made by hand: which are forced, and in which order.

use super::super::machine::Touch;
use super::*;

const MODULES: Range<u64> = 0xa000_0000..0xb000_0000;

fn home() -> Home {
    Home {
        code: 0xa000_1000,
        bytes: 0x1000,
        modules: MODULES,
    }
}

fn ran(address: u64, memory: u64, store: bool) -> Ran {
    Ran {
        address,
        order: 0,
        touches: vec![Touch {
            memory,
            bytes: 8,
            store,
        }],
    }
}

fn instruction(address: u64) -> Instruction {
    Instruction {
        address,
        next: address + 4,
        text: "mov".to_owned(),
        flow: crate::decode::instructions::Flow::Next,
        write: None,
    }
}

#[test]
fn a_module_that_was_loaded_elsewhere_keeps_its_addresses() {
    let home = home();
    assert_eq!(home.kept(0xa555_0010, 0xa555_0000), 0xa000_1010);
    assert_eq!(home.now(0xa000_1010, 0xa555_0000), 0xa555_0010);
    assert_eq!(home.kept(0x8100_0000, 0xa555_0000), 0x8100_0000);
    assert_eq!(home.now(0x8100_0000, 0xa555_0000), 0x8100_0000);
}

#[test]
fn the_modules_own_code_comes_first_and_a_conflict_needs_two_windows() {
    let symbols = Symbols::of_text(
        "81000000 T free_module\n81001000 T show_it\n81002000 T __schedule\n81003000 T rest\n",
    );
    let code: Vec<Instruction> = [
        0x8100_0004,
        0x8100_1004,
        0x8100_2004,
        0x8100_3004,
        0xa000_1010,
    ]
    .map(instruction)
    .to_vec();
    let home = home();
    let code = Code {
        symbols: &symbols,
        instructions: &code,
        home: &home,
    };
    let window = Window {
        first: LOADER,
        traces: [
            vec![
                ran(0x8100_0004, 0xa000_5000, true),
                ran(0x8100_2004, 0x10, true),
            ],
            vec![
                ran(0x8100_3004, 0x50, false),
                ran(0x8100_1004, 0xa000_5000, false),
                ran(0xa000_1010, 0x20, false),
            ],
        ],
    };
    let once = look(std::slice::from_ref(&window), code);
    assert_eq!(once.conflicts, []);
    let other = Window {
        first: READER,
        ..window.clone()
    };
    let scene = look(&[window, other], code);
    let conflict = Conflict {
        at: [0x8100_0004, 0x8100_1004],
        of_module: true,
    };
    assert_eq!(scene.conflicts, [conflict]);
    assert!(scene.callers.contains("show_it"));
    // The scheduler's is none.
    assert_eq!(scene.points[LOADER].len(), 1);
    let all = schedules(&[scene], code, &|_| false);
    let told: Vec<(usize, usize)> = all
        .iter()
        .filter(|stops| !stops.preempts)
        .map(|stops| (stops.first, stops.count()))
        .collect();
    // One stop in the module; then beside its memory; the conflict, both
    // ways; the rest.
    let expected = [
        (READER, 1),
        (LOADER, 1),
        (READER, 1),
        (LOADER, 2),
        (READER, 2),
        (READER, 1),
    ];
    assert_eq!(told, expected);
    assert_eq!(all[0].at, [None, Some(0xa000_1010)]);
    assert_eq!(all.last().unwrap().at, [None, Some(0x8100_3004)]);
    // Each single stop once more, with the task preempted.
    assert_eq!(all.iter().filter(|stops| stops.preempts).count(), 4);
}
