// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: exit leaves the timer armed. It fires every third tick, so that
 * an exit may or may not be in time.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/timer.h>
#include <linux/version.h>

static struct timer_list timer;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 15, 0)
static void tick(struct timer_list *unused)
#else
static void tick(unsigned long unused)
#endif
{
	mod_timer(&timer, jiffies + 3);
}

static int __init timer_left_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 15, 0)
	timer_setup(&timer, tick, 0);
#else
	setup_timer(&timer, tick, 0);
#endif
	mod_timer(&timer, jiffies + 3);
	return 0;
}

static void __exit timer_left_exit(void)
{
#ifdef MODRACE_MENDED
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	timer_delete_sync(&timer);
#else
	del_timer_sync(&timer);
#endif
#endif
}

module_init(timer_left_init);
module_exit(timer_left_exit);
MODULE_DESCRIPTION("A timer that outlives its module");
MODULE_LICENSE("GPL");
