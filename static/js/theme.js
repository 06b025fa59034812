// Runs before the first paint, so that a chosen theme never flashes in the wrong colours.
try {
	const chosen = localStorage.getItem('kenyon-theme');
	if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* Storage may be forbidden; the system's preference then holds. */ }
