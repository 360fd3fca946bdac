/* commands.h - every command: what `sqz NAME` and the link sqz-NAME run. */
#ifndef SQZ_CMD_COMMANDS_H
#define SQZ_CMD_COMMANDS_H

/* X(NAME, "one line for `sqz --help`"): the entry is cmd_NAME() in cmd_NAME.c. */
#define CMD_LIST(X)                                                                                                    \
    X(import, "read a trained model of any format into a working file")                                                \
    X(info, "show a model layer by layer and where its bytes go")                                                      \
    X(prune, "set the least important weights to zero")                                                                \
    X(quantize, "let the weights of each layer share a few values")                                                    \
    X(encode, "write a model as a small .sqz file")                                                                    \
    X(decode, "turn a .sqz file back into a working file or another format")                                           \
    X(run, "classify images, or run a tensor through a model")                                                         \
    X(eval, "measure accuracy, size and speed on labelled images")                                                     \
    X(export, "write a model for other runtimes")                                                                      \
    X(compare, "tabulate size and accuracy of several models")                                                         \
    X(compress, "find the best small file of a net, without training")                                                 \
    X(sensitivity, "measure what each layer costs the net when it is made coarser")

/* argv[0] is the command's own name; the value is the exit code (cmd/options.h). */
#define X(name, summary) int cmd_##name(int argc, char **argv);
CMD_LIST(X)
#undef X

#endif
