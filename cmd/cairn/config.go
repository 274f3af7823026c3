package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	return group("config", "Show and change the configuration",
		a.configShowCommand(), a.configGetCommand(), a.configSetCommand(), a.configEditCommand())
}

func (a *app) configShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print every key, its value, and where that comes from",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			for _, k := range keys {
				v := a.set[k.name]
				shown := struct {
					Key      string `json:"key"`
					Value    string `json:"value"`
					Origin   string `json:"origin"`
					Variable string `json:"variable"`
					Help     string `json:"help"`
				}{k.name, v.text, v.origin, k.variable(), k.help}
				if err := a.show(shown, "%-19s = %-16q # %s: %s", k.name, v.text, v.origin, k.help); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) configGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get KEY",
		Short:             "Print one value",
		Args:              arguments(1, 1),
		ValidArgsFunction: completeKey,
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := findKey(args[0])
			if err != nil {
				return asUsageError(err)
			}
			return a.show(a.set.text(k.name), "%s", a.set.text(k.name))
		},
	}
}

func (a *app) configSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "set KEY VALUE",
		Short:             "Change one value in the configuration file",
		Args:              arguments(2, 2),
		ValidArgsFunction: completeKey,
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := findKey(args[0])
			if err != nil {
				return asUsageError(err)
			}
			if err := k.validate(args[1]); err != nil {
				return asUsageError(fmt.Errorf("%s: %w", k.name, err))
			}
			if err := a.changeConfig(func(text []byte) ([]byte, error) { return setKey(text, k.name, args[1]) }); err != nil {
				return err
			}
			if v, _ := a.env(k.variable()); v != "" {
				a.remark("$%s is set, and counts for more than the file", k.variable())
			}
			return nil
		},
	}
}

func (a *app) configEditCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edit",
		Short: "Change the configuration file in an editor ($VISUAL, $EDITOR)",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			editor, _ := a.env("VISUAL")
			if editor == "" {
				editor, _ = a.env("EDITOR")
			}
			words := strings.Fields(editor)
			if len(words) == 0 {
				return withHint(errors.New("edit configuration: no editor"), "set $EDITOR, or use cairn config set")
			}
			// The editor gets a copy: only valid text is written to the file.
			return a.changeConfig(func(text []byte) ([]byte, error) {
				draft, err := os.CreateTemp("", "cairn-*.toml")
				if err != nil {
					return nil, err
				}
				defer os.Remove(draft.Name())
				if len(text) == 0 {
					text = []byte(configTemplate())
				}
				_, err = draft.Write(text)
				if err = errors.Join(err, draft.Close()); err != nil {
					return nil, err
				}
				child := exec.CommandContext(cmd.Context(), words[0], append(words[1:], draft.Name())...)
				child.Stdin, child.Stdout, child.Stderr = a.in, a.stdout, a.err
				if err := child.Run(); err != nil {
					return nil, fmt.Errorf("%s: %w", words[0], err)
				}
				return readConfig(draft.Name())
			})
		},
	}
}

// configTemplate returns a configuration file whose keys are all comments.
func configTemplate() string {
	var b strings.Builder
	table := ""
	for _, k := range keys {
		t, name, _ := strings.Cut(k.name, ".")
		if t != table {
			fmt.Fprintf(&b, "[%s]\n", t)
			table = t
		}
		fmt.Fprintf(&b, "# %s\n# %s = %q\n", k.help, name, k.standard)
	}
	return b.String()
}

// changeConfig replaces the configuration file's text by what edit makes of it,
// if that is valid.
func (a *app) changeConfig(edit func([]byte) ([]byte, error)) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	if a.config == "" {
		if _, err := a.usableDir(); err != nil {
			return err
		}
	}
	text, err := readConfig(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read configuration: %w", err)
	}
	changed, err := edit(text)
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	if _, err := parseConfig(changed); err != nil {
		return fmt.Errorf("edit configuration: nothing was changed: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return writeFile(path, true, 0o644, func(w *os.File) error {
		_, err := w.Write(changed)
		return err
	})
}

// setKey changes one key in the text of a configuration. The rest stays, with
// its comments.
func setKey(text []byte, name, v string) ([]byte, error) {
	table, key, _ := strings.Cut(name, ".")
	line := key + " = " + strconv.Quote(v) + "\n"
	var out bytes.Buffer
	current, done, tableEnd := "", false, -1
	for old := range strings.Lines(string(text)) {
		trimmed := strings.TrimSpace(old)
		if strings.HasPrefix(trimmed, "[") {
			current = strings.TrimSpace(strings.Trim(strings.TrimSpace(strings.SplitN(trimmed, "#", 2)[0]), "[]"))
		}
		before, _, isAssignment := strings.Cut(trimmed, "=")
		if isAssignment && current == table && strings.TrimSpace(before) == key {
			old, done = line, true
		}
		if !strings.HasSuffix(old, "\n") {
			old += "\n"
		}
		out.WriteString(old)
		if current == table {
			tableEnd = out.Len()
		}
	}
	switch {
	case done:
	case tableEnd >= 0:
		rest := bytes.Clone(out.Bytes()[tableEnd:])
		out.Truncate(tableEnd)
		out.WriteString(line)
		out.Write(rest)
	default:
		fmt.Fprintf(&out, "[%s]\n%s", table, line)
	}
	// Other ways to write a table ("store.target = …") are not understood here.
	values, err := parseConfig(out.Bytes())
	if err != nil || values[name] != v {
		return nil, withHint(fmt.Errorf("the file's form is not one that can be changed by itself"), "use cairn config edit")
	}
	return out.Bytes(), nil
}
