// SPDX-License-Identifier: GPL-2.0
/*
 * The mistake: exit leaves the timer armed. It fires every third tick, so that
 * an exit may or may not be in time. The timer itself is never freed: it is the
 * function that has gone when it fires, not the list that it stands in.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/version.h>

static struct timer_list *timer;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 15, 0)
static void tick(struct timer_list *fired)
{
#else
static void tick(unsigned long data)
{
	struct timer_list *fired = (struct timer_list *)data;
#endif
	mod_timer(fired, jiffies + 3);
}

static int __init timer_left_init(void)
{
	timer = kzalloc(sizeof(*timer), GFP_KERNEL);
	if (!timer)
		return -ENOMEM;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 15, 0)
	timer_setup(timer, tick, 0);
#else
	setup_timer(timer, tick, (unsigned long)timer);
#endif
	mod_timer(timer, jiffies + 3);
	return 0;
}

static void __exit timer_left_exit(void)
{
#ifdef MODRACE_MENDED
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	timer_delete_sync(timer);
#else
	del_timer_sync(timer);
#endif
	kfree(timer);
#endif
}

module_init(timer_left_init);
module_exit(timer_left_exit);
MODULE_DESCRIPTION("A timer that outlives its module");
MODULE_LICENSE("GPL");
