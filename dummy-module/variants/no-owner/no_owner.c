// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: the operations of the device have no .owner, so that a file
 * that is open does not keep the module from going.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

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

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.fops = &operations,
	.mode = 0444,
};

static int __init no_owner_init(void)
{
	device.name = THIS_MODULE->name;
	return misc_register(&device);
}

static void __exit no_owner_exit(void)
{
	misc_deregister(&device);
}

module_init(no_owner_init);
module_exit(no_owner_exit);
MODULE_DESCRIPTION("A character device without an owner");
MODULE_LICENSE("GPL");
