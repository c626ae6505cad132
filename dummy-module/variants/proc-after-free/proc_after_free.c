// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: exit frees what the file in /proc shows, and removes the file
 * only then.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/version.h>

struct shown {
	const char *text;
	unsigned int value[14];
};

static struct shown *shown;

static int text_show(struct seq_file *file, void *unused)
{
	struct shown *now = READ_ONCE(shown);

	seq_printf(file, "%s %u\n", now->text, now->value[3]);
	return 0;
}

static int text_open(struct inode *inode, struct file *file)
{
	return single_open(file, text_show, NULL);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
static const struct proc_ops operations = {
	.proc_open = text_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};
#else
static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = text_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};
#endif

static int __init proc_init(void)
{
	shown = kzalloc(sizeof(*shown), GFP_KERNEL);
	if (!shown)
		return -ENOMEM;
	shown->text = "text";
	if (!proc_create(THIS_MODULE->name, 0444, NULL, &operations)) {
		kfree(shown);
		return -ENOMEM;
	}
	return 0;
}

static void __exit proc_exit(void)
{
#ifdef MODRACE_MENDED
	remove_proc_entry(THIS_MODULE->name, NULL);
	kfree(shown);
#else
	kfree(shown);
	remove_proc_entry(THIS_MODULE->name, NULL);
#endif
}

module_init(proc_init);
module_exit(proc_exit);
MODULE_DESCRIPTION("A file in /proc that shows what was freed");
MODULE_LICENSE("GPL");
