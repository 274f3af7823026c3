package main

import (
	"bytes"
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

const (
	// maxKeyFile bounds a key that is imported, in bytes, as the API has it.
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
				return conflict("key export: --format is protobuf or pem, not %q", format)
			}
			if output == "" && a.outTerminal && !force {
				return hinted(usage(errors.New("key export: a private key is not for a terminal")),
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
					err = hinted(err, "name another file, or say --force")
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
			f, err := a.open(cmd.Context(), args[1])
			if err != nil {
				return fmt.Errorf("key import: %w", err)
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
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

// passphrase is what keys are encrypted with; empty: they are not.
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
