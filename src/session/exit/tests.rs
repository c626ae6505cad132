//! Errors with their exit codes and ways out.

use super::*;

fn ends(failure: impl Into<Failure>) -> (ExitCode, Option<String>) {
    let failure = failure.into();
    (failure.code, failure.hint)
}

#[test]
fn an_error_says_its_exit_code_and_its_way_out() {
    let (code, hint) = ends(LabError::NoSource(DEBIAN_TARBALL.into()));
    assert_eq!(code, ExitCode::Unsupported);
    assert!(hint.unwrap().contains("apt-get install linux-source"));
    let (code, hint) = ends(KbuildError::NoTool {
        program: "gcc".to_owned(),
    });
    assert_eq!(code, ExitCode::Unsupported);
    assert_eq!(hint.unwrap(), "gcc is missing: apt-get install gcc");
    assert_eq!(ends(KbuildError::Interrupted).0, ExitCode::Interrupted);
    assert_eq!(ends(io::Error::other("x")), (ExitCode::Broken, None));
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let (code, hint) = ends(LabError::Source {
        path: "x".into(),
        source: full,
    });
    assert_eq!(code, ExitCode::Broken);
    assert!(hint.unwrap().contains("lab remove"));
}

#[test]
fn the_worse_exit_code_is_the_one_that_counts() {
    use ExitCode::{Broken, Crashed, Inconclusive, Survived, Unsupported};
    for (one, other, worse) in [
        (Survived, Inconclusive, Inconclusive),
        (Crashed, Survived, Crashed),
        (Crashed, Broken, Crashed),
        (Unsupported, Broken, Broken),
    ] {
        assert_eq!(one.worse(other), worse);
        assert_eq!(other.worse(one), worse);
    }
}
