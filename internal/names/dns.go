package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the largest answer over UDP, in bytes; larger ones come over
	// TCP. It fits into a packet on every network.
	udpSize = 1232

	// maxMessage is the largest message of DNS, in bytes.
	maxMessage = 64 << 10

	// maxAliases bounds the CNAMEs followed in an answer.
	maxAliases = 16

	// dohType is the media type of DNS over HTTPS.
	dohType = "application/dns-message"

	resolvConf = "/etc/resolv.conf"
)

// lookupTXT returns the TXT records of a name, and how long they may be cached.
// Finding none is not an error. The domain selects the server.
func (d *DNSLink) lookupTXT(ctx context.Context, domain, at string) ([]string, time.Duration, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(at), dns.TypeTXT)
	question.SetEdns0(udpSize, false)
	if u := d.dohURL(domain); u != "" {
		return d.query(u, question, func() (*dns.Msg, error) { return d.askDoH(ctx, u, question) })
	}
	servers := d.servers
	if servers == nil {
		system, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return nil, 0, fmt.Errorf("find the system's DNS servers: %w; configure some", err)
		}
		for _, server := range system.Servers {
			servers = append(servers, net.JoinHostPort(server, system.Port))
		}
	}
	var errs []error
	for i, server := range servers {
		// Each server gets its share of the remaining time.
		ctx, cancel := context.WithTimeout(ctx, timeLeft(ctx)/time.Duration(len(servers)-i))
		texts, ttl, err := d.query(server, question, func() (*dns.Msg, error) { return askServer(ctx, server, question) })
		cancel()
		if err == nil {
			return texts, ttl, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("there are no DNS servers"))
	}
	return nil, 0, errors.Join(errs...)
}

// timeLeft returns the time until the context's deadline.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Minute
	}
	return time.Until(deadline)
}

// dohURL returns the URL for the longest suffix of a domain, or "".
func (d *DNSLink) dohURL(domain string) string {
	for suffix := domain; ; {
		if u := d.doh[suffix]; u != "" {
			return u
		}
		_, rest, ok := strings.Cut(suffix, ".")
		if !ok {
			return d.doh["."]
		}
		suffix = rest
	}
}

// query asks one server and reads its answer.
func (d *DNSLink) query(server string, question *dns.Msg, ask func() (*dns.Msg, error)) ([]string, time.Duration, error) {
	answer, err := ask()
	if err == nil {
		var texts []string
		var ttl time.Duration
		if texts, ttl, err = readAnswer(question, answer); err == nil {
			return texts, ttl, nil
		}
	}
	return nil, 0, fmt.Errorf("ask %s for %s: %w", server, question.Question[0].Name, err)
}

// askServer asks a server over UDP, and again over TCP if the answer was
// truncated.
func askServer(ctx context.Context, server string, question *dns.Msg) (*dns.Msg, error) {
	udp := dns.Client{Net: "udp", UDPSize: udpSize, Timeout: timeLeft(ctx)}
	answer, err := exchangeWith(ctx, &udp, server, question)
	if err != nil || !answer.Truncated {
		return answer, err
	}
	tcp := dns.Client{Net: "tcp", Timeout: timeLeft(ctx)}
	return exchangeWith(ctx, &tcp, server, question)
}

func exchangeWith(ctx context.Context, client *dns.Client, server string, question *dns.Msg) (*dns.Msg, error) {
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// A read ignores the context.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer, _, err := client.ExchangeWithConnContext(ctx, question, conn)
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return answer, nil
}

// askDoH asks over HTTPS (RFC 8484). It bounds the answer's length and follows
// no redirect.
func (d *DNSLink) askDoH(ctx context.Context, address string, question *dns.Msg) (*dns.Msg, error) {
	// With an id of zero HTTP caches recognize equal questions.
	question.Id = 0
	packed, err := question.Pack()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", dohType)
	request.Header.Set("Accept", dohType)
	response, err := d.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", response.Status)
	}
	if kind := response.Header.Get("Content-Type"); kind != dohType {
		return nil, fmt.Errorf("%w: content type %.100q, want %s", ErrInvalid, kind, dohType)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMessage+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxMessage {
		return nil, fmt.Errorf("%w: the answer has more than %d bytes", ErrInvalid, maxMessage)
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return answer, nil
}

// readAnswer returns the TXT records of an answer: those of the name, or of the
// name that CNAMEs lead to. It fails if the answer doesn't match the question.
func readAnswer(question, answer *dns.Msg) ([]string, time.Duration, error) {
	asked := question.Question[0]
	if !answer.Response || answer.Id != question.Id || len(answer.Question) != 1 ||
		answer.Question[0].Qtype != asked.Qtype || answer.Question[0].Qclass != asked.Qclass ||
		!strings.EqualFold(answer.Question[0].Name, asked.Name) {
		return nil, 0, fmt.Errorf("%w: the answer doesn't match the question", ErrInvalid)
	}
	switch answer.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		return nil, 0, nil
	default:
		return nil, 0, fmt.Errorf("the server answered %s", dns.RcodeToString[answer.Rcode])
	}
	name := asked.Name
	ttl := maxTTL
	for range maxAliases {
		var texts []string
		next := ""
		for _, rr := range answer.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.TXT:
				texts = append(texts, unescape(strings.Join(rr.Txt, "")))
			case *dns.CNAME:
				next = rr.Target
			default:
				continue
			}
			ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
		}
		if len(texts) > 0 || next == "" {
			return texts, ttl, nil
		}
		name = next
	}
	return nil, 0, fmt.Errorf("%w: more than %d CNAMEs", ErrInvalid, maxAliases)
}

// unescape reverses package dns's escapes of quotes, backslashes, and bytes that
// are not printable.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
