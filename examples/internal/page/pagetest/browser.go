// Package pagetest looks at the page as a person would: in a browser, headless.
package pagetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Browser is one tab.
type Browser struct {
	t          *testing.T
	ctx        context.Context
	shots      string // what the names of screenshots begin with
	complaints chan string
}

// Open opens a tab on a page; the test is skipped where there is no browser. It is closed at the end of the test, which fails if anything
// was written to the console. With HEARTH_SHOTS=DIR screenshots are left there, their names beginning with shots.
func Open(t *testing.T, url, shots string) *Browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(find(t)), chromedp.NoSandbox, chromedp.WindowSize(1200, 1400))
	allocated, free := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(free)
	tab, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(tab, time.Minute)
	t.Cleanup(cancel)
	b := &Browser{t, ctx, shots, make(chan string, 100)}
	chromedp.ListenTarget(ctx, b.listen)
	t.Cleanup(func() {
		select {
		case text := <-b.complaints:
			t.Error("the console says: ", text)
		default:
		}
	})
	b.Do(log.Enable(), chromedp.Navigate(url))
	return b
}

func find(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("skipped: no chromium")
	return ""
}

func (b *Browser) listen(ev any) {
	text := ""
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		text = ev.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprint(ev.Type, ev.Args)
	case *log.EventEntryAdded:
		text = ev.Entry.Text
	default:
		return
	}
	select {
	case b.complaints <- text:
	default: // there are enough
	}
}

// Do does things one after the other; the test fails at the first that cannot be done.
func (b *Browser) Do(actions ...chromedp.Action) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Run(b.ctx, actions...))
}

// Until waits until an expression is true, 20 s at most.
func (b *Browser) Until(js string) chromedp.Action {
	return chromedp.Poll(js, nil, chromedp.WithPollingTimeout(20*time.Second))
}

// Shot takes a screenshot of the whole page, if they are wanted.
func (b *Browser) Shot(name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		dir := os.Getenv("HEARTH_SHOTS")
		if dir == "" {
			return nil
		}
		var png []byte
		if err := chromedp.FullScreenshot(&png, 100).Do(ctx); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, b.shots+name+".png"), png, 0o600)
	})
}

// Phone turns the tab into a phone with a dark page, and waits until it fits.
func (b *Browser) Phone() chromedp.Action {
	return chromedp.Tasks{
		emulation.SetDeviceMetricsOverride(390, 844, 2, true),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}),
		b.Until(`document.documentElement.scrollWidth <= 390`),
	}
}
