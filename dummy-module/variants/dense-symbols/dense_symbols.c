// SPDX-License-Identifier: GPL-2.0
/*
 * Very many symbols, 4096 that stay and 4096 of init, so that a walk over them
 * takes long. Those of init go at the end of init. The armed timer makes
 * /proc/timer_list look one symbol up, which is one such walk.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/version.h>

#define ONE(x) static int symbol_that_stays_##x __used; \
	static int symbol_of_init_##x __initdata __used = 1;
#define EIGHT(x) ONE(x##0) ONE(x##1) ONE(x##2) ONE(x##3) \
	ONE(x##4) ONE(x##5) ONE(x##6) ONE(x##7)
#define SIXTY_FOUR(x) EIGHT(x##0) EIGHT(x##1) EIGHT(x##2) EIGHT(x##3) \
	EIGHT(x##4) EIGHT(x##5) EIGHT(x##6) EIGHT(x##7)
#define FIVE_HUNDRED(x) SIXTY_FOUR(x##0) SIXTY_FOUR(x##1) SIXTY_FOUR(x##2) \
	SIXTY_FOUR(x##3) SIXTY_FOUR(x##4) SIXTY_FOUR(x##5) SIXTY_FOUR(x##6) \
	SIXTY_FOUR(x##7)
FIVE_HUNDRED(0) FIVE_HUNDRED(1) FIVE_HUNDRED(2) FIVE_HUNDRED(3)
FIVE_HUNDRED(4) FIVE_HUNDRED(5) FIVE_HUNDRED(6) FIVE_HUNDRED(7)

static struct hrtimer timer;

static enum hrtimer_restart far_away(struct hrtimer *unused)
{
	return HRTIMER_NORESTART;
}

static int __init dense_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&timer, far_away, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#else
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = far_away;
#endif
	hrtimer_start(&timer, ktime_set(100000, 0), HRTIMER_MODE_REL);
	return 0;
}

static void __exit dense_exit(void)
{
	hrtimer_cancel(&timer);
}

module_init(dense_init);
module_exit(dense_exit);
MODULE_DESCRIPTION("A module with very many symbols");
MODULE_LICENSE("GPL");
