// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: a file in debugfs made by the _unsafe call, with operations
 * that have no owner and take no debugfs_file_get(): a file that is open does
 * not keep the module from going. Mended, the file is made by the helper for a
 * number, whose operations are the kernel's own and wait. (An owner would do as
 * well, but for a warning of open_proxy_open(): it finds the module without
 * references and not GOING yet.)
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>

static struct dentry *folder;

#ifdef MODRACE_MENDED
static u32 number = 12;

static void show(void)
{
	debugfs_create_u32("text", 0444, folder, &number);
}
#else
static ssize_t text_read(struct file *file, char __user *to, size_t length,
			 loff_t *position)
{
	return simple_read_from_buffer(to, length, position, "text\n", 5);
}

static const struct file_operations operations = {
	.read = text_read,
};

static void show(void)
{
	debugfs_create_file_unsafe("text", 0444, folder, NULL, &operations);
}
#endif

static int __init unsafe_init(void)
{
	folder = debugfs_create_dir(THIS_MODULE->name, NULL);
	show();
	return 0;
}

static void __exit unsafe_exit(void)
{
	debugfs_remove_recursive(folder);
}

module_init(unsafe_init);
module_exit(unsafe_exit);
MODULE_DESCRIPTION("A file in debugfs that outlives its module");
MODULE_LICENSE("GPL");
