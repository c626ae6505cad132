// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: a write to the file in /proc queues work that exit does not
 * wait for.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/version.h>
#include <linux/workqueue.h>

static void a_moment(struct work_struct *unused)
{
	usleep_range(50, 100);
}

static DECLARE_WORK(work, a_moment);

static ssize_t queue_write(struct file *file, const char __user *from,
			   size_t length, loff_t *position)
{
	schedule_work(&work);
	return length;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
static const struct proc_ops operations = { .proc_write = queue_write };
#else
static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = queue_write,
};
#endif

static int __init work_left_init(void)
{
	return proc_create(THIS_MODULE->name, 0222, NULL, &operations) ? 0 : -ENOMEM;
}

static void __exit work_left_exit(void)
{
	remove_proc_entry(THIS_MODULE->name, NULL);
#ifdef MODRACE_MENDED
	flush_work(&work);
#endif
}

module_init(work_left_init);
module_exit(work_left_exit);
MODULE_DESCRIPTION("Work that outlives its module");
MODULE_LICENSE("GPL");
