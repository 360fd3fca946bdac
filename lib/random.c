/* random.c - a small seeded generator with the same numbers on every machine. */
#include "lib/random.h"

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int n) {
    return (x << n) | (x >> (64 - n));
}

struct sqz_random sqz_random_seeded(uint64_t seed) {
    struct sqz_random random;
    for (int i = 0; i < 4; i++) random.state[i] = splitmix64(&seed);
    return random;
}

uint64_t sqz_random_next(struct sqz_random *random) {
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double sqz_random_unit(struct sqz_random *random) {
    return (double)(sqz_random_next(random) >> 11) * 0x1p-53;
}
