//! Small reports and the function that each names.

use super::*;

fn lines(text: &str) -> Vec<StackLine> {
    text.lines().map(StackLine::new).collect()
}

fn guilty(selector: FrameSelector, cpus: &[u32], text: &str) -> Option<String> {
    function(&Evidence {
        kind: CrashKind::Oops,
        selector,
        skip: &[],
        header: text.lines().next().unwrap_or_default(),
        lines: &lines(text),
        cpus,
        mixed: false,
        nested: false,
    })
}

#[test]
fn a_stall_names_what_the_cpu_was_called_to_do() {
    let report = "BUG: soft lockup\nRIP: 0010:memcpy+0x1/0x2\nCall Trace:\n a+0x1/0x2\n b+0x1/0x2\n do_syscall_64+0x1/0x2\n";
    assert_eq!(
        guilty(FrameSelector::Stuck, &[], report).as_deref(),
        Some("b")
    );
}

#[test]
fn a_stall_names_the_function_of_the_cpu_that_is_stuck() {
    let report = "INFO: rcu_sched self-detected stall on CPU { 7}\n\
        NMI backtrace for cpu 0\nCPU: 0 PID: 0 Comm: swapper/0 Not tainted 3.10.0 #1\nRIP: 0010:intel_idle+0x1/0x2\nCall Trace:\n cpuidle_idle_call+0x1/0x2\n\
        NMI backtrace for cpu 7\nCPU: 7 PID: 9 Comm: demo Not tainted 3.10.0 #1\nRIP: 0010:demo_spin+0x1/0x2\nCall Trace:\n demo_ioctl+0x1/0x2\n do_syscall_64+0x1/0x2\n";
    for selector in [FrameSelector::RcuStall, FrameSelector::Stuck] {
        assert_eq!(
            guilty(selector, &[7], report).as_deref(),
            Some("demo_ioctl")
        );
    }
}

#[test]
fn a_hang_names_who_waits() {
    let report = "INFO: task\nCall Trace:\n __schedule+0x1/0x2\n schedule+0x1/0x2\n rwsem_x+0x1/0x2\n ext4_y+0x1/0x2\n";
    assert_eq!(
        guilty(FrameSelector::Hung, &[], report).as_deref(),
        Some("ext4_y")
    );
}

#[test]
fn a_copy_is_not_guilty() {
    let report =
        "x\nRIP: 0010:memcpy+0x1/0x2\nCall Trace:\n ? old+0x1/0x2\n caller.isra.0+0x1/0x2\n";
    assert_eq!(
        guilty(FrameSelector::PcThenTrace, &[], report).as_deref(),
        Some("caller")
    );
}

#[test]
fn unsure_frames_count_where_no_sure_one_is_left() {
    let report = "x\nEIP is at __mutex_lock_slowpath+0x1/0x2\nCall Trace:\n ? mutex_lock+0x1/0x2\n ? drm_fb_release+0x1/0x2\n";
    assert_eq!(
        guilty(FrameSelector::PcThenTrace, &[], report).as_deref(),
        Some("drm_fb_release")
    );
}

#[test]
fn a_caller_without_a_frame_stands_in_the_link_register() {
    for (pc, link) in [
        ("pc : memcpy+0x1/0x2", "lr : demo_copy+0x1/0x20"),
        ("epc : memcpy+0x1/0x2", " ra : demo_copy+0x1/0x20"),
        (
            "NIP [c000000000123456] .memcpy+0x1/0x2",
            "LR [c000000000123456] .demo_copy+0x1/0x20",
        ),
        ("PC is at memcpy+0x1/0x2", "LR is at demo_copy+0x1/0x20"),
    ] {
        let report =
            format!("x\n{pc}\n{link}\nCall Trace:\n memcpy+0x1/0x2\n demo_caller+0x1/0x2\n");
        assert_eq!(
            guilty(FrameSelector::PcThenTrace, &[], &report).as_deref(),
            Some("demo_copy"),
            "{report}"
        );
    }
}

#[test]
fn the_link_register_of_a_function_with_a_frame_is_no_caller() {
    for link in ["f+0x10/0x20", "caller+0x4/0x20"] {
        let report = lines(&format!(
            "x\npc : f+0x18/0x20\nlr : {link}\nCall trace:\n f+0x18/0x20\n caller+0x4/0x20\n"
        ));
        assert!(leaf_caller(&report).is_none());
    }
}

#[test]
fn a_report_interrupted_before_its_trace_uses_the_frames_below_the_reporter() {
    let mut report = lines(
        "BUG: KASAN: stack-out-of-bounds in memcpy+0x1/0x2\nOops: 0000 [#1]\nCall Trace:\n unwind_next_frame+0x1/0x2\n dump_stack_lvl+0x1/0x2\n kasan_report+0x1/0x2\n demo_read+0x1/0x2\n",
    );
    for line in &mut report[1..] {
        line.foreign = true;
    }
    let found = function(&Evidence {
        kind: CrashKind::Kasan,
        selector: FrameSelector::HeaderThenTrace,
        skip: &[],
        header: "BUG: KASAN: stack-out-of-bounds in memcpy+0x1/0x2",
        lines: &report,
        cpus: &[],
        mixed: false,
        nested: false,
    });
    assert_eq!(found.as_deref(), Some("demo_read"));
}

#[test]
fn first_lines_name_functions_in_every_notation() {
    for header in [
        "WARNING: at kernel/x.c:12 foo+0x1/0x2()",
        "WARNING: CPU: 0 PID: 1 at kernel/x.c:12 foo.isra.0+0x1/0x2",
        "WARNING: kernel/x.c:12 at foo+0x1/0x2, CPU#1: demo/12",
        "WARNING: at kernel/x.c:12 foo()",
        "WARNING: at kernel/x.c:12/foo()",
        "WARNING: CPU: 0 PID: 1 at kernel/x.c:12 foo (kernel/x.c:12 (discriminator 1))",
        "WARNING: CPU: 0 PID: 1 at kernel/x.c:12 .foo+0x1/0x2 [demo]",
    ] {
        assert_eq!(warned_function(header).as_deref(), Some("foo"), "{header}");
    }
    for header in [
        "BUG: KASAN: x in foo+0x1/0x2",
        "BUG: KASAN: x in foo (a/b.c:12)",
        "BUG: KASAN: x in .foo+0x1/0x2",
    ] {
        assert_eq!(header_function(header).as_deref(), Some("foo"), "{header}");
    }
}

#[test]
fn a_system_call_has_one_name() {
    assert_eq!(short("__x64_sys_read"), "sys_read");
    assert_eq!(short("__do_sys_read"), "read");
    assert_eq!(short("SyS_read"), "read");
    assert_eq!(short("m_show"), "m_show");
}
