//! The fix under test in a kernel's source: found by what it says, whatever
//! stands around it, and the patch that takes it out. `free_module()` stands in
//! `kernel/module.c` until 5.18 and in `kernel/module/main.c` since.

use std::fs;
use std::path::Path;

use super::LabError;
use super::build_spec::NamedText;

/// Raise it when the same source gives another patch than before.
pub(super) const VERSION: u32 = 1;
/// What the patch is called, in messages and manifests.
const NAME: &str = "without-unformed-lock.patch";
/// Where `free_module()` has stood, newest first.
const FILES: &[&str] = &["kernel/module/main.c", "kernel/module.c"];
const FUNCTION: &str = "static void free_module(struct module *mod)";
const STORE: &str = "mod->state = MODULE_STATE_UNFORMED;";
const LOCK: &str = "mutex_lock(&module_mutex);";
const UNLOCK: &str = "mutex_unlock(&module_mutex);";
/// Lines of context on both sides of a change.
const CONTEXT: usize = 3;

/// The patch that takes the fix out of `source`, an unpacked kernel.
pub(super) fn patch(source: &Path) -> Result<NamedText, LabError> {
    let missing = |file: &str, why: String| LabError::NoUnformedLock {
        file: file.to_owned(),
        why,
    };
    for file in FILES {
        let path = source.join(file);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        return diff(file, &text)
            .map(|diff| NamedText::new(NAME, diff))
            .map_err(|why| missing(file, why));
    }
    Err(missing(FILES[0], "there is no such file".to_owned()))
}

/// A unified diff of `file` without the two calls around the store. In the
/// error, what was found instead.
fn diff(file: &str, text: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let start = (lines.iter())
        .position(|line| line.trim_end() == FUNCTION)
        .ok_or_else(|| format!("there is no `{FUNCTION}`"))?;
    let length = (lines[start..].iter())
        .position(|line| *line == "}")
        .ok_or_else(|| format!("`{FUNCTION}` has no end"))?;
    let body = start..start + length;
    let quoted = || {
        let body = lines[body.clone()].iter().map(|line| format!("    {line}"));
        body.collect::<Vec<_>>().join("\n")
    };
    let stores: Vec<usize> = (body.clone())
        .filter(|&at| lines[at].trim() == STORE)
        .collect();
    let &[store] = &*stores else {
        return Err(format!(
            "`{STORE}` stands {} times in free_module(), not once:\n{}",
            stores.len(),
            quoted()
        ));
    };
    let (before, after) = (store - 1, store + 1);
    if lines[before].trim() != LOCK || lines[after].trim() != UNLOCK {
        return Err(format!(
            "`{STORE}` does not stand between `{LOCK}` and `{UNLOCK}`:\n{}",
            quoted()
        ));
    }
    let first = before.saturating_sub(CONTEXT);
    let last = (after + 1 + CONTEXT).min(lines.len());
    let old = last - first;
    let mut diff = format!(
        "Take the fix out: free_module() sets MODULE_STATE_UNFORMED without\n\
         module_mutex, as it did before the fix of the reported panic in 2014.\n\
         Nothing else changes.\n\n\
         --- a/{file}\n+++ b/{file}\n@@ -{},{old} +{},{} @@\n",
        first + 1,
        first + 1,
        old - 2,
    );
    for (at, line) in (first..).zip(&lines[first..last]) {
        let sign = if at == before || at == after {
            '-'
        } else {
            ' '
        };
        diff.push(sign);
        diff.push_str(line);
        diff.push('\n');
    }
    Ok(diff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
int other(void)
{
	mod->state = MODULE_STATE_UNFORMED;
}

static void free_module(struct module *mod)
{
	trace_module_free(mod);

	/* We leave it in list to prevent duplicate loads */
	mutex_lock(&module_mutex);
	mod->state = MODULE_STATE_UNFORMED;
	mutex_unlock(&module_mutex);

	/* Remove dynamic debug info */
	ddebug_remove_module(mod->name);
}
";

    #[test]
    fn the_two_calls_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("kernel")).unwrap();
        let file = dir.path().join("kernel/module.c");
        fs::write(&file, OLD).unwrap();
        let patch = patch(dir.path()).unwrap();
        crate::lab::patch::apply(dir.path(), &patch, &false.into()).unwrap();
        let without: Vec<&str> = OLD
            .lines()
            .filter(|line| !line.contains("lock(&module_mutex)"))
            .collect();
        assert_eq!(
            fs::read_to_string(file).unwrap().trim_end(),
            without.join("\n")
        );
    }

    #[test]
    fn another_form_is_shown_and_not_guessed_at() {
        let trylock = OLD.replace("mutex_lock(&", "mutex_trylock(&");
        let why = diff("kernel/module.c", &trylock).unwrap_err();
        assert!(why.contains("mutex_trylock"), "{why}");
        let unfixed = OLD
            .replace("\tmutex_lock(&module_mutex);\n", "")
            .replace("\tmutex_unlock(&module_mutex);\n", "");
        assert!(diff("kernel/module.c", &unfixed).is_err());
        let twice = OLD.replace(
            "\ttrace_module_free(mod);",
            "\tmod->state = MODULE_STATE_UNFORMED;",
        );
        let why = diff("kernel/module.c", &twice).unwrap_err();
        assert!(why.contains("2 times"), "{why}");
        assert!(diff("kernel/module.c", "int x;\n").is_err());
    }
}
