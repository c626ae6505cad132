// SPDX-License-Identifier: GPL-2.0
/*
 * Stays loaded, with the operations of the other module's device: else a
 * kernel in order would call into a module that has gone as well. An open
 * fails, as one that finds no hardware.
 */
#include <linux/fs.h>
#include <linux/module.h>

static int no_hardware(struct inode *inode, struct file *file)
{
	return -ENODEV;
}

const struct file_operations cdev_that_stays = {
	.owner = THIS_MODULE,
	.open = no_hardware,
};
EXPORT_SYMBOL_GPL(cdev_that_stays);

static int __init operations_init(void)
{
	return 0;
}

static void __exit operations_exit(void)
{
}

module_init(operations_init);
module_exit(operations_exit);
MODULE_DESCRIPTION("Operations of a character device");
MODULE_LICENSE("GPL");
