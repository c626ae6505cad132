// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does nothing, to be loaded and unloaded as fast as a kernel
 * can. It prints nothing: the console is where crashes are looked for.
 *
 * It can be held in its init and in its exit function, so that it is seen in
 * the states Loading and Unloading. Builds unchanged from 3.8 on.
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>

static unsigned int hold_init_ms;
module_param(hold_init_ms, uint, 0);
MODULE_PARM_DESC(hold_init_ms, "stay in the init function this long");

static unsigned int hold_exit_ms;
module_param(hold_exit_ms, uint, 0);
MODULE_PARM_DESC(hold_exit_ms, "stay in the exit function this long");

/*
 * Any write makes the kernel print its list of modules, print_modules(), and
 * live on. Since 5.0 the panic of sysrq-c has no such list.
 */
static int dummy_warn(const char *val, const struct kernel_param *kp)
{
	WARN(1, "modrace: the list of modules was asked for\n");
	return 0;
}

static const struct kernel_param_ops dummy_warn_ops = {
	.set = dummy_warn,
};
module_param_cb(warn, &dummy_warn_ops, NULL, 0200);

static int __init dummy_init(void)
{
	if (hold_init_ms)
		msleep(hold_init_ms);
	return 0;
}

static void __exit dummy_exit(void)
{
	if (hold_exit_ms)
		msleep(hold_exit_ms);
}

module_init(dummy_init);
module_exit(dummy_exit);
MODULE_DESCRIPTION("A module that does nothing, to be loaded and unloaded");
/*
 * Only a tainted module can meet the BUG, so the module must not claim to be
 * part of the kernel. Its twin does, to show the race without the BUG.
 */
#ifdef MODRACE_TWIN
MODULE_INFO(intree, "Y");
#endif
MODULE_LICENSE("GPL");
