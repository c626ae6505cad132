// SPDX-License-Identifier: GPL-2.0
/*
 * Very many symbols, 65536 that stay and 4096 of init, so that a walk over them
 * takes long. Those of init go at the end of init. The armed timer makes
 * /proc/timer_list look one symbol up, which is one such walk.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/version.h>

#define STAYS(x) static int symbol_that_stays_##x __used;
#define OF_INIT(x) static int symbol_of_init_##x __initdata __used = 1;

#define EIGHT(one, x) one(x##0) one(x##1) one(x##2) one(x##3) \
	one(x##4) one(x##5) one(x##6) one(x##7)
#define SIXTY_FOUR(one, x) EIGHT(one, x##0) EIGHT(one, x##1) EIGHT(one, x##2) \
	EIGHT(one, x##3) EIGHT(one, x##4) EIGHT(one, x##5) EIGHT(one, x##6) \
	EIGHT(one, x##7)
#define FIVE_HUNDRED(one, x) SIXTY_FOUR(one, x##0) SIXTY_FOUR(one, x##1) \
	SIXTY_FOUR(one, x##2) SIXTY_FOUR(one, x##3) SIXTY_FOUR(one, x##4) \
	SIXTY_FOUR(one, x##5) SIXTY_FOUR(one, x##6) SIXTY_FOUR(one, x##7)
#define FOUR_THOUSAND(one, x) FIVE_HUNDRED(one, x##0) FIVE_HUNDRED(one, x##1) \
	FIVE_HUNDRED(one, x##2) FIVE_HUNDRED(one, x##3) FIVE_HUNDRED(one, x##4) \
	FIVE_HUNDRED(one, x##5) FIVE_HUNDRED(one, x##6) FIVE_HUNDRED(one, x##7)

FOUR_THOUSAND(STAYS, 0) FOUR_THOUSAND(STAYS, 1)
FOUR_THOUSAND(STAYS, 2) FOUR_THOUSAND(STAYS, 3)
FOUR_THOUSAND(STAYS, 4) FOUR_THOUSAND(STAYS, 5)
FOUR_THOUSAND(STAYS, 6) FOUR_THOUSAND(STAYS, 7)
FOUR_THOUSAND(STAYS, 8) FOUR_THOUSAND(STAYS, 9)
FOUR_THOUSAND(STAYS, a) FOUR_THOUSAND(STAYS, b)
FOUR_THOUSAND(STAYS, c) FOUR_THOUSAND(STAYS, d)
FOUR_THOUSAND(STAYS, e) FOUR_THOUSAND(STAYS, f)
FOUR_THOUSAND(OF_INIT, 0)

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
