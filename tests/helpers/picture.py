"""What stands for the picture of a page where no page is."""


class Picture:
    """Keeps what it was last told to show."""

    def update(self, shown):
        self.shown = shown
