/* effort.h - how often a repetitive test repeats: the sanitizers slow it several times over. */
#ifndef SQZ_TESTS_EFFORT_H
#define SQZ_TESTS_EFFORT_H

#ifdef __SANITIZE_ADDRESS__
#define EFFORT(usual, sanitized) (sanitized)
#else
#define EFFORT(usual, sanitized) (usual)
#endif

#endif
