-- Whether whoever ordered the examination called it urgent: such a study is analysed before those that are not.
ALTER TABLE instances ADD COLUMN urgent BIGINT NOT NULL DEFAULT 0;
