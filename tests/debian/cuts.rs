//! The power is cut while a run is under way: what has to be there is on the disk.

use modrace::model::{Outcome, Report, Verdict};

use crate::machine::{Kernel, Machine};

const UNIT: &str = "/etc/systemd/system/modrace-resume.service";
const LINK: &str = "/etc/systemd/system/multi-user.target.wants/modrace-resume.service";

#[test]
fn after_a_cut_behind_the_gate_everything_is_whole_and_the_campaign_goes_on() {
    let machine = Machine::new(Kernel::Stock);
    let script = "cd /root\n\
         if [ ! -e begun ]; then touch begun; sync\n\
         modrace run --disposable --duration 10s --trials 2 --on-crash stay --rearm \
         --install-unit --report /root/report.json; fi\n\
         for i in $(seq 200); do [ -e /var/lib/modrace ] || break; sleep 1; done; sleep 1\n\
         echo LEFT=$(ls -A /etc/systemd/system /var/lib /root | grep -c modrace)\n";
    let mut running = machine.start(script);
    running.wait_for("modrace: the race starts");
    running.cut_the_power();

    let file = |path: &str| {
        let bytes = machine.disk.file(path).unwrap_or_default();
        assert!(!bytes.is_empty(), "{path} is empty, or not there");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(file(UNIT).contains("modrace recover --resume"));
    let wanted = LINK.rsplit_once('/').unwrap().0;
    assert!(
        machine
            .disk
            .names(wanted)
            .contains(&"modrace-resume.service".to_owned())
    );
    assert!(file("/root/report.json").contains("\"schema\""));
    let only = |folder: &str, end: &str| {
        let names = machine.disk.names(folder);
        let mut shown = names.iter().filter(|name| !name.starts_with('.'));
        let found = shown.find(|name| name.ends_with(end));
        let found = found.unwrap_or_else(|| panic!("no {end} in {folder}: {names:?}"));
        format!("{folder}/{found}")
    };
    let journal = file(&only("/var/lib/modrace", ".journal"));
    for record in ["begin", "trial", "module", "armed"] {
        let word = format!("\"record\":\"{record}\"");
        assert!(journal.contains(&word), "no {record} in {journal}");
    }
    let entry = only("/root/.cache/modrace/modules", "");
    let module = machine
        .disk
        .file(&format!("{entry}/dummy_module.ko"))
        .unwrap();
    assert!(module.starts_with(b"\x7fELF"));
    assert!(file(&format!("{entry}/SHA256SUMS")).contains("dummy_module.ko"));

    // The machine comes back by itself, and the unit goes on.
    let boot = machine.boot(script);
    assert_eq!(boot.value("LEFT="), Some("0"), "{}", boot.console);
    let report: Report = serde_json::from_str(&file("/root/report.json")).unwrap();
    let outcomes: Vec<Outcome> = report.trials.iter().map(|trial| trial.outcome).collect();
    assert_eq!(outcomes, [Outcome::Died, Outcome::Survived], "{report:?}");
    // Neither a pass nor broken: the kernel may have died.
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(report.trials[0].reason.contains("nothing says why"));
}
