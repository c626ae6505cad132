// SPDX-License-Identifier: GPL-2.0
/*
 * Stays loaded, with 2048 copied values of string parameters. For each string
 * parameter that is freed the kernel looks through all values that it has
 * copied, maybe_kfree_parameter(), so that freeing many takes long.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>

#define VALUES 2048

static char *values[VALUES];

static int __init values_init(void)
{
	int i, err;

	for (i = 0; i < VALUES; i++) {
		struct kernel_param param = { .name = "value", .arg = &values[i] };

		err = param_ops_charp.set("x", &param);
		if (err)
			return err;
	}
	return 0;
}

static void __exit values_exit(void)
{
	int i;

	for (i = 0; i < VALUES; i++)
		param_ops_charp.free(&values[i]);
}

module_init(values_init);
module_exit(values_exit);
MODULE_DESCRIPTION("Very many values of parameters");
MODULE_LICENSE("GPL");
