package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) nameCommand() *cobra.Command {
	g := group("name", "Publish and resolve names whose content may change (IPNS, DNSLink)",
		a.namePublishCommand(), a.nameResolveCommand(), a.nameInspectCommand(), a.nameGetCommand(), a.namePutCommand())
	g.Long = `A name is the id of a key, k51…, which leads to whatever the key's owner signed
last. Names are also resolved wherever a CID is taken: /ipns/NAME/path, or
/ipns/DOMAIN/path for domains with a DNSLink.`
	return g
}

func (a *app) namePublishCommand() *cobra.Command {
	var key string
	var ttl, lifetime durationFlag
	cmd := &cobra.Command{
		Use:   "publish PATH",
		Short: "Make a name lead to a path",
		Long: `Signs a record that makes the key's name lead to PATH: a CID, /ipfs/CID/path,
/ipns/NAME, or an alias by its name. Prints the name, where it leads, and the
record's sequence.

All who may have a record of the name are asked first, so that the sequence is
above all that are in use. Then the record is kept here, and sent. While a daemon
runs, it renews the record before it expires, and sends it again twice a day.
With --offline nobody is asked, and the record is sent when a daemon is online.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				return a.namePublish(cmd.Context(), s, args[0], control.PublishArgs{
					Key: key, TTL: time.Duration(ttl), Lifetime: time.Duration(lifetime), Offline: a.offline,
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&key, "key", cairn.SelfKey, "the `key` whose name it is")
	fl.Var(&ttl, "ttl", "how long others may go without asking again (default 5m)")
	fl.Var(&lifetime, "lifetime", "how long the record is valid (default 30d)")
	a.passphraseFlag(cmd)
	// It fails only for a flag that isn't there.
	_ = cmd.RegisterFlagCompletionFunc("key", a.completeKeys(-1))
	return cmd
}

// A shownPublication is a record that was published, in JSON.
type shownPublication struct {
	Name     string    `json:"name"`
	Value    string    `json:"value"`
	Sequence uint64    `json:"sequence"`
	Validity time.Time `json:"validity"`
	TTL      float64   `json:"ttl"` // in seconds
	Sent     bool      `json:"sent"`
}

func (a *app) namePublish(ctx context.Context, s repo, path string, p control.PublishArgs) error {
	var isName bool
	p.Path, isName = namePath(path)
	if !isName {
		r, err := resolveRef(ctx, s, path)
		if err != nil {
			return fmt.Errorf("name publish: %w", err)
		}
		if p.Path = "/ipfs/" + r.root.String(); r.path != "" {
			p.Path += "/" + r.path
		}
	}
	done, err := control.PublishName.Do(ctx, s.Target, p)
	if err != nil {
		return keyFailed("name publish", err)
	}
	return a.published("name publish", done, done.NotSent == nil && !p.Offline)
}

// published shows a record that is kept here, and says if it was not sent.
func (a *app) published(what string, p control.Publication, sent bool) error {
	r, err := p.Record, p.NotSent.Err()
	shown := shownPublication{r.Name, r.Value, r.Sequence, r.Validity.UTC(), r.TTL.Seconds(), sent}
	if serr := a.show(shown, "%s %s %d", r.Name, printable(r.Value), r.Sequence); serr != nil {
		return serr
	}
	switch {
	case a.offline && !sent: // a daemon that runs may have sent it
		a.remark("the record is kept here, and sent when a daemon is online")
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (a *app) nameResolveCommand() *cobra.Command {
	var latest, long bool
	cmd := &cobra.Command{
		Use:   "resolve NAME",
		Short: "Print the path that a name leads to",
		Long: `Follows a name, k51…, a domain, a path /ipns/NAME/path, or the name of a key that
is here, to a path that doesn't change, and prints that. The first valid answer
counts, and what is known here and fresh enough answers at once; --latest waits
for all who may know better. With -l each name on the way is printed, with where
it leads, its sequence, and who said so.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeKeys(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				r, err := control.ResolveName.Do(cmd.Context(), s.Target, control.NameArgs{Name: named(args[0]), Latest: latest, Offline: a.offline})
				if err != nil {
					return fmt.Errorf("name resolve: %w", err)
				}
				return a.resolved(r, long)
			})
		},
	}
	cmd.Flags().BoolVar(&latest, "latest", false, "wait until all have been asked")
	cmd.Flags().BoolVarP(&long, "long", "l", false, "print each name on the way")
	return cmd
}

func (a *app) resolved(r cairn.Resolution, long bool) error {
	for _, step := range r.Steps {
		if !long || a.json {
			break
		}
		sequence := "-"
		if step.Record != nil {
			sequence = fmt.Sprint(step.Record.Sequence)
		}
		if err := a.show(nil, "%s %s %s %s", step.Name, printable(step.Value), sequence, printable(step.From)); err != nil {
			return err
		}
	}
	return a.show(r, "%s", printable(r.Path))
}

// named is a name as the library takes it: of a gateway's URL the path.
func named(s string) string {
	if path, isName := namePath(s); isName {
		return path
	}
	return s
}
