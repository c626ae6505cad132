// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: exit does not put the kobject, and its attribute outlives the
 * module.
 */
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/sysfs.h>

static struct kobject *object;

static ssize_t value_show(struct kobject *unused, struct kobj_attribute *attr,
			  char *to)
{
	return sprintf(to, "1\n");
}

static struct kobj_attribute value = __ATTR_RO(value);

static int __init kobject_init_module(void)
{
	int err;

	object = kobject_create_and_add(THIS_MODULE->name, kernel_kobj);
	if (!object)
		return -ENOMEM;
	err = sysfs_create_file(object, &value.attr);
	if (err)
		kobject_put(object);
	return err;
}

static void __exit kobject_exit_module(void)
{
#ifdef MODRACE_MENDED
	kobject_put(object);
#endif
}

module_init(kobject_init_module);
module_exit(kobject_exit_module);
MODULE_DESCRIPTION("A kobject that outlives its module");
MODULE_LICENSE("GPL");
