package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// An app is one run of the program.
type app struct {
	ui
	env     func(string) (string, bool) // os.LookupEnv
	started bool                        // the arguments are valid

	// Flags that every command has.
	repo, config, logLevel string
	daemonAddress          string
	offline                bool
	passphraseFile         string // of commands that use keys

	set settings // loaded before a command runs
}

// run runs the program, and returns its exit status.
func run(ctx context.Context, args []string, s streams, env func(string) (string, bool)) int {
	a := &app{ui: newUI(s, env), env: env}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		err = asUsageError(err)
	}
	var h *hintedError
	if errors.Is(err, errUsage) && !errors.As(err, &h) {
		err = withHint(err, cmd.CommandPath()+" --help says how")
	}
	return a.finish(ctx, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "cairn",
		Short: "Content-addressed files: add, read, keep, verify",
		Long: `Cairn keeps files as content-addressed blocks, in the formats of IPFS.

  cairn add README.md        adds a file, and prints the CID that names it
  cairn cat CID              reads it back
  cairn alias set NAME CID   keeps what CID names, under a name

A CID can be given as CID, /ipfs/CID/path, ipfs://CID/path, /ipns/NAME/path, or by
the name of an alias. The repository is made on first use.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused,
130 interrupted.`,
		SilenceErrors: true, // finish prints them
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			return a.loadSettings()
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	f := root.PersistentFlags()
	f.StringVar(&a.repo, "repo", "", "the repository's `folder` ($CAIRN_PATH, else ~/.cairn)")
	f.StringVar(&a.daemonAddress, "daemon", "", "ask the daemon at this `address` ($CAIRN_DAEMON): unix:PATH or HOST:PORT (else the one that serves the repository, if one does)")
	f.BoolVar(&a.offline, "offline", false, "use no network (a daemon that runs has its own)")
	f.StringVar(&a.config, "config", "", "the configuration `file` (else config.toml in the repository)")
	f.StringVar(&a.logLevel, "log-level", "", "what to log: debug, info, warn or error (key log.level)")
	f.BoolVar(&a.json, "json", false, "print JSON: one value, or one a line")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print less: no progress, no remarks")

	completeFlag(root, "log-level", "debug", "info", "warn", "error")

	root.AddGroup(
		&cobra.Group{ID: "files", Title: "Files:"},
		&cobra.Group{ID: "blocks", Title: "Blocks:"},
		&cobra.Group{ID: "keeping", Title: "Keeping:"},
		&cobra.Group{ID: "node", Title: "The node:"},
		&cobra.Group{ID: "moving", Title: "Moving:"},
		&cobra.Group{ID: "names", Title: "Names:"},
		&cobra.Group{ID: "itself", Title: "Cairn itself:"},
	)
	addGroup(root, "files", a.addCommand(), a.catCommand(), a.getCommand(), a.lsCommand(), a.statCommand())
	addGroup(root, "blocks", a.blockCommand(), a.dagCommand(), a.cidCommand())
	addGroup(root, "keeping", a.aliasCommand(), a.pinCommand(), a.gcCommand(), a.verifyCommand(),
		a.statsCommand(), a.backupCommand(), a.rebuildCommand())
	addGroup(root, "node", a.serveCommand(), a.idCommand(), a.peersCommand(), a.connectCommand(), a.disconnectCommand(),
		a.pingCommand(), a.shutdownCommand())
	addGroup(root, "moving", a.syncCommand(), a.findCommand(), a.provideCommand(), a.routingCommand())
	addGroup(root, "names", a.keyCommand(), a.nameCommand())
	addGroup(root, "itself", a.initCommand(), a.configCommand(), a.versionCommand())
	root.SetHelpCommandGroupID("itself")
	root.SetCompletionCommandGroupID("itself")
	// Without it, cobra takes an unknown command for an argument.
	root.Args = refuseCommand
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return root
}

func addGroup(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// group makes a command of commands.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  refuseCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, c := range commands {
				names = append(names, c.Name())
			}
			return usageErrorf("%s: say which: %s", cmd.Name(), strings.Join(names, ", "))
		},
	}
	g.AddCommand(commands...)
	return g
}

func refuseCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "cairn "))
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return withHint(err, fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), near[0]))
	}
	return err
}

// arguments checks the number of arguments, of which the command's usage line
// gives the names. A negative most is any number.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, names, _ := strings.Cut(cmd.Use, " ")
		switch {
		case len(args) < least:
			return fmt.Errorf("%s: say %s", cmd.Name(), names)
		case most == 0 && len(args) > 0:
			return fmt.Errorf("%s: takes no arguments, got %q", cmd.Name(), args[0])
		case most >= 0 && len(args) > most:
			return fmt.Errorf("%s: too many arguments: say %s", cmd.Name(), names)
		}
		return nil
	}
}

// usageErrorf returns an error about flags or arguments.
func usageErrorf(format string, args ...any) error {
	return asUsageError(fmt.Errorf(format, args...))
}
