// SPDX-License-Identifier: GPL-2.0
/*
 * A character device that comes and goes with its module, at 240:0. The cdev
 * has no owner: a module's reference would decide instead of the cdev's own.
 */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>

extern const struct file_operations cdev_that_stays;

static struct cdev *cdev;

static int __init comes_init(void)
{
	int err = register_chrdev_region(MKDEV(240, 0), 1, "modrace");

	if (err)
		return err;
	cdev = cdev_alloc();
	if (!cdev) {
		unregister_chrdev_region(MKDEV(240, 0), 1);
		return -ENOMEM;
	}
	cdev->ops = &cdev_that_stays;
	err = cdev_add(cdev, MKDEV(240, 0), 1);
	if (err) {
		kobject_put(&cdev->kobj);
		unregister_chrdev_region(MKDEV(240, 0), 1);
	}
	return err;
}

static void __exit goes_exit(void)
{
	cdev_del(cdev);
	unregister_chrdev_region(MKDEV(240, 0), 1);
}

module_init(comes_init);
module_exit(goes_exit);
MODULE_DESCRIPTION("A character device that comes and goes");
MODULE_LICENSE("GPL");
