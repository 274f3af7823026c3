package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/atomicfile"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) keyCommand() *cobra.Command {
	g := group("key", "Hold the private keys that names are signed with",
		a.keyGenCommand(), a.keyLsCommand(), a.keyRmCommand(), a.keyRenameCommand(), a.keyExportCommand(), a.keyImportCommand())
	g.Long = `The keys are files in the repository, in the folder keys, readable for their owner
alone. The node's identity is the key "self". A key is named by what it is called
here, or by its id, k51…, which is the name that it signs for.

With a passphrase, from $CAIRN_KEY_PASSPHRASE or the first line of the file that
--passphrase-file names (key.passphrase-file), keys are encrypted when they are
made or imported, and opened when they are used. A daemon has its own: it is
started with it.`
	a.passphraseFlag(g)
	return g
}

// passphraseFlag adds the flag of commands that use private keys.
func (a *app) passphraseFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.passphraseFile, "passphrase-file", "", "read the keys' passphrase from this `file` (key key.passphrase-file)")
}

func (a *app) showKey(k cairn.Key) error {
	return a.show(k, "%s %s", k.ID, escape(k.Name))
}

// keyFailed adds the command that failed to an error, and a hint.
func keyFailed(what string, err error) error {
	if errors.Is(err, cairn.ErrKeyNotFound) || errors.Is(err, cairn.ErrNameNotFound) {
		err = withHint(err, "cairn key ls lists the keys that there are")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (a *app) keyGenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gen NAME",
		Short: "Make a key",
		Long: `Makes an Ed25519 key that is called NAME here, and prints its id, which is the
name to publish with it.`,
		Args: arguments(1, 1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			k, err := control.GenerateKey.Do(ctx, s.Target, control.KeyArgs{Name: args[0]})
			if err != nil {
				return keyFailed("key gen", err)
			}
			return a.showKey(k)
		}),
	}
}

func (a *app) keyLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the keys",
		Long: `Lists the keys by their ids and names, the node's identity first. A key's file
that can't be read is told of at the end, and the exit status isn't 0 then.`,
		Args: arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			var failed []error
			for k, err := range control.ListKeys.Do(ctx, s.Target, struct{}{}) {
				if err = cmp.Or(err, k.Failed.Err()); err != nil {
					failed = append(failed, err)
					continue
				}
				if err := a.showKey(k.Key); err != nil {
					return err
				}
			}
			if len(failed) > 0 {
				return fmt.Errorf("key ls: %w", errors.Join(failed...))
			}
			return nil
		}),
	}
}

func (a *app) keyRmCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rm NAME…",
		Short: "Remove keys for good",
		Long: `Removes keys, all of them or none. What they signed stays valid until it expires,
but nobody can publish under their names any more. Those who want to keep a key
elsewhere export it first.`,
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeKeys(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			gone, err := control.RemoveKeys.Do(ctx, s.Target, control.RemoveKeysArgs{Names: args, DryRun: dryRun})
			if err != nil {
				return keyFailed("key rm", err)
			}
			for _, k := range gone {
				done := "removed"
				if dryRun {
					done = "would remove"
				}
				err := a.show(struct {
					cairn.Key
					DryRun bool `json:"dryRun"`
				}{k, dryRun}, "%s %s %s", done, k.ID, escape(k.Name))
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be removed, and remove nothing")
	return cmd
}

func (a *app) keyRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rename NAME NEW",
		Short:             "Call a key something else",
		Long:              `Gives a key another name here. Its id, and so what it publishes, stays the same.`,
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeKeys(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			k, err := control.RenameKey.Do(ctx, s.Target, control.RenameArgs{Name: args[0], To: args[1]})
			if err != nil {
				return keyFailed("key rename", err)
			}
			return a.showKey(k)
		}),
	}
}

// completeKeys offers the names of keys, for commands that take at most so many.
// Below zero: any number.
func (a *app) completeKeys(most int) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(cmd, begun, func(ctx context.Context, s repo, offer func(string) bool) error {
			for k, err := range control.ListKeys.Do(ctx, s.Target, struct{}{}) {
				if err == nil && k.Failed == nil && !offer(k.Name) {
					break
				}
			}
			return nil
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

const (
	// maxKeyFile bounds a key that is imported, in bytes, as in internal/control.
	maxKeyFile = 64 << 10
	// maxPassphrase bounds the file of a passphrase, in bytes.
	maxPassphrase = 4 << 10
)

// keyFormats are the ways to write a private key.
var keyFormats = map[string]cairn.KeyFormat{"protobuf": cairn.KeyProtobuf, "pem": cairn.KeyPEM}

func (a *app) keyExportCommand() *cobra.Command {
	var output, format string
	var force bool
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Write a private key, for another node",
		Long: `Writes a private key, not encrypted, to stdout, or to the file that -o names,
which is made for its owner alone. Whoever has the key can publish under its
name. "protobuf" is libp2p's form, which Kubo writes, too; "pem" is PKCS #8.

Over a network a key is neither given out nor taken in: a daemon is asked on its
own machine.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeKeys(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, known := keyFormats[format]
			if !known {
				return usageErrorf("key export: --format is protobuf or pem, not %q", format)
			}
			if output == "" && a.outTerminal && !force {
				return withHint(asUsageError(errors.New("key export: a private key is not for a terminal")),
					"write it to a file with -o, or say --force")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				data, err := control.ExportKey.Do(cmd.Context(), s.Target, control.ExportKeyArgs{Name: args[0], Format: f})
				if err != nil {
					return keyFailed("key export", err)
				}
				if output == "" {
					_, err = a.out.Write(data)
				} else {
					err = writeFile(output, force, 0o600, atomicfile.Data(data))
				}
				if errors.Is(err, fs.ErrExist) {
					err = withHint(err, "name another file, or say --force")
				}
				if err != nil {
					return fmt.Errorf("key export: %w", err)
				}
				return nil
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&output, "output", "o", "", "write to this `file`")
	fl.StringVar(&format, "format", "protobuf", "how it is written: protobuf or pem")
	fl.BoolVar(&force, "force", false, "write to a terminal, or in the place of a file")
	completeFlag(cmd, "format", "protobuf", "pem")
	return cmd
}

func (a *app) keyImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import NAME FILE|-",
		Short: "Take in a private key from another node",
		Long: `Reads a private key in one of the forms that export writes, and calls it NAME
here: Ed25519, RSA, ECDSA or secp256k1.`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.readFile(cmd.Context(), args[1], maxKeyFile)
			if err == nil && len(data) > maxKeyFile {
				err = fmt.Errorf("%s has more than %s: that is no key", args[1], formatSize(maxKeyFile))
			}
			if err != nil {
				return fmt.Errorf("key import: %w", err)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				k, err := control.ImportKey.Do(cmd.Context(), s.Target, control.ImportKeyArgs{Name: args[0], Key: bytes.NewReader(data)})
				if err != nil {
					return keyFailed("key import", err)
				}
				return a.showKey(k)
			})
		},
	}
}

// passphrase returns the passphrase that keys are encrypted with. Empty: they
// are not encrypted.
func (a *app) passphrase() (string, error) {
	path := a.set.text("key.passphrase-file")
	if path == "" {
		text, _ := a.env("CAIRN_KEY_PASSPHRASE")
		return text, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the keys' passphrase: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
	if err != nil {
		return "", fmt.Errorf("read the keys' passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" || len(text) > maxPassphrase {
		return "", fmt.Errorf("read the keys' passphrase: the first line of %s is empty, or the file too long", path)
	}
	return line, nil
}
