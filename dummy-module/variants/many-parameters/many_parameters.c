// SPDX-License-Identifier: GPL-2.0
/*
 * 1024 string parameters. Freeing them is what free_module() does between
 * UNFORMED and taking the module off the list.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>

#define ONE(x) static char *p##x; module_param(p##x, charp, 0);
#define EIGHT(x) ONE(x##0) ONE(x##1) ONE(x##2) ONE(x##3) \
	ONE(x##4) ONE(x##5) ONE(x##6) ONE(x##7)
#define SIXTY_FOUR(x) EIGHT(x##0) EIGHT(x##1) EIGHT(x##2) EIGHT(x##3) \
	EIGHT(x##4) EIGHT(x##5) EIGHT(x##6) EIGHT(x##7)
#define FIVE_HUNDRED(x) SIXTY_FOUR(x##0) SIXTY_FOUR(x##1) SIXTY_FOUR(x##2) \
	SIXTY_FOUR(x##3) SIXTY_FOUR(x##4) SIXTY_FOUR(x##5) SIXTY_FOUR(x##6) \
	SIXTY_FOUR(x##7)
FIVE_HUNDRED(0) FIVE_HUNDRED(1)

static int __init many_init(void)
{
	return 0;
}

static void __exit many_exit(void)
{
}

module_init(many_init);
module_exit(many_exit);
MODULE_DESCRIPTION("A module with very many parameters");
MODULE_LICENSE("GPL");
