/* version.h - the release that --version prints. */
#ifndef SQZ_CMD_VERSION_H
#define SQZ_CMD_VERSION_H

#define SQZ_VERSION_TEXT "0.1.0"

#endif
