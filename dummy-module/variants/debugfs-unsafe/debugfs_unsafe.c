// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: a file in debugfs made by the _unsafe call, with operations
 * that have no owner and take no debugfs_file_get(): a file that is open does
 * not keep the module from going.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>

static struct dentry *dentry;

static ssize_t text_read(struct file *file, char __user *to, size_t length,
			 loff_t *position)
{
	return simple_read_from_buffer(to, length, position, "text\n", 5);
}

static const struct file_operations operations = {
#ifdef MODRACE_MENDED
	.owner = THIS_MODULE,
#endif
	.read = text_read,
};

static int __init unsafe_init(void)
{
	dentry = debugfs_create_file_unsafe(THIS_MODULE->name, 0444, NULL, NULL,
					    &operations);
	return 0;
}

static void __exit unsafe_exit(void)
{
	debugfs_remove(dentry);
}

module_init(unsafe_init);
module_exit(unsafe_exit);
MODULE_DESCRIPTION("A file in debugfs that outlives its module");
MODULE_LICENSE("GPL");
